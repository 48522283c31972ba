//! Evaluation: a walk over the compiled tree, with a bound on what it may cost.
//!
//! Every node costs a step; functions charge for the bytes they read and produce. When the budget
//! is spent the evaluation is an error: never a panic, never memory without bound.

mod access;
mod arithmetic;
mod compare;
mod fold;

pub(super) use arithmetic::calculate;
pub(super) use compare::{compare, equals};

use super::attribute;
use super::error::{Cause, Error, Name};
use super::headers::Headers;
use super::inputs::Inputs;
use super::map::{Entries, Map, is_key, json_get};
use super::node::{Kind, Node, TextTest, truths};
use super::value::{Str, Value};

/// Steps of one evaluation: nodes visited and blocks of bytes handled.
pub const STEPS_MAX: u32 = 200_000;
/// Bytes of text and lists produced in one evaluation.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that cost as much as one step.
const STEP_BYTES: usize = 64;
/// What a regex that was not known beforehand costs to compile.
const REGEX_STEPS: u32 = 2_000;

/// One evaluation.
pub(super) struct Frame<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    /// Values of variables; what failed is an error for who reads it.
    locals: Vec<Result<Value<'a>, Error>>,
    steps: u32,
    bytes: usize,
}

type Evaluated<'a> = Result<Value<'a>, Error>;

impl<'a> Frame<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>) -> Self {
        Self { inputs, locals: Vec::new(), steps: STEPS_MAX, bytes: BYTES_MAX }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Error> {
        self.spend(1)
    }

    #[inline]
    fn spend(&mut self, steps: u32) -> Result<(), Error> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Error::new(Cause::Limit("steps"))),
        }
    }

    /// Charges for reading so many bytes or elements.
    pub(super) fn reads(&mut self, count: usize) -> Result<(), Error> {
        self.spend(u32::try_from(count / STEP_BYTES).unwrap_or(u32::MAX))
    }

    /// Charges for producing so many bytes.
    pub(super) fn produces(&mut self, bytes: usize) -> Result<(), Error> {
        self.reads(bytes)?;
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(Error::new(Cause::Limit("bytes"))),
        }
    }

    /// A text that was made here.
    pub(super) fn text(&mut self, text: String) -> Evaluated<'a> {
        self.produces(text.len())?;
        Ok(Value::text(text))
    }

    /// A list that was made here.
    pub(super) fn list(&mut self, items: Vec<Value<'a>>) -> Evaluated<'a> {
        self.produces(items.len().saturating_mul(size_of::<Value<'a>>()))?;
        Ok(Value::list(items))
    }

    /// A regex that is only known now.
    pub(super) fn regex(&mut self, pattern: &str) -> Result<regex::Regex, Error> {
        self.spend(REGEX_STEPS)?;
        self.reads(pattern.len().saturating_mul(STEP_BYTES))?;
        super::compile::regex(pattern).map_err(Error::invalid)
    }
}

/// The value of a node.
pub(super) fn eval<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Evaluated<'a> {
    frame.step()?;
    walk(node, frame).map_err(|error| placed(error, node))
}

#[cold]
fn placed(mut error: Error, node: &Node) -> Error {
    if error.offset == u32::MAX {
        error.offset = node.at;
    }
    error
}

#[inline]
fn walk<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Evaluated<'a> {
    match &node.kind {
        Kind::Const(value) => Ok(Value::borrow(value)),
        Kind::Local(slot) => frame.locals.get(*slot).cloned().unwrap_or_else(|| Err(Error::missing())),
        Kind::Attribute(attribute, _) => attribute::read(*attribute, frame.inputs),
        Kind::Select(of, field) => access::select(&eval(of, frame)?, field),
        Kind::Index(parts, optional) => {
            let [of, key] = &**parts;
            let (of, key) = (eval(of, frame)?, eval(key, frame)?);
            access::indexed(&of, &key, *optional)
        }
        Kind::Choice(parts) => {
            let [condition, yes, no] = &**parts;
            if truth(condition, frame)? { eval(yes, frame) } else { eval(no, frame) }
        }
        Kind::Arithmetic(operation, parts) => {
            let [left, right] = &**parts;
            let (left, right) = (eval(left, frame)?, eval(right, frame)?);
            calculate(*operation, &left, &right, frame)
        }
        Kind::Negate(of) => arithmetic::negate(&eval(of, frame)?),
        Kind::Call(run, args) => call(*run, args, frame),
        Kind::Fold(it) => fold::fold(it, frame),
        Kind::Let(parts) => {
            let [value, body] = &**parts;
            let value = eval(value, frame);
            within(frame, value, |frame| eval(body, frame))
        }
        Kind::RequestHeader(_)
        | Kind::ResponseHeader(_)
        | Kind::Cookie(_)
        | Kind::Parameter(_)
        | Kind::Claim(_)
        | Kind::KeyMetadata(_)
        | Kind::Object(_)
        | Kind::Bound(_)
        | Kind::Undeclared(_) => named(&node.kind, frame),
        Kind::List(items) => list(items, frame),
        Kind::Map(entries) => map(entries, frame),
        truths!() => decide(&node.kind, frame).map(Value::Bool),
        Kind::Replace(..)
        | Kind::JsonField(..)
        | Kind::OptionalSelect(..)
        | Kind::OptionalOf(_)
        | Kind::Coalesce(_)
        | Kind::Default(_)
        | Kind::OptionalMap(..)
        | Kind::Or(..) => access::special(&node.kind, frame),
    }
}

/// Runs with one more variable.
fn within<'a, T>(frame: &mut Frame<'a>, value: Result<Value<'a>, Error>, act: impl FnOnce(&mut Frame<'a>) -> T) -> T {
    frame.locals.push(value);
    let result = act(frame);
    frame.locals.pop();
    result
}

/// Whether a node holds; what is neither true nor false is an error.
pub(super) fn truth<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Result<bool, Error> {
    match &node.kind {
        Kind::Const(Value::Bool(value)) => Ok(*value),
        truths!() => {
            frame.step()?;
            decide(&node.kind, frame).map_err(|error| placed(error, node))
        }
        _ => match eval(node, frame)? {
            Value::Bool(value) => Ok(value),
            _ => Err(placed(Error::no_overload(), node)),
        },
    }
}

/// Nodes that are true or false, without making values of them in between.
fn decide<'a>(kind: &'a Kind, frame: &mut Frame<'a>) -> Result<bool, Error> {
    match kind {
        Kind::Not(of) => truth(of, frame).map(|it| !it),
        Kind::All(parts) => join(parts, false, frame),
        Kind::Any(parts) => join(parts, true, frame),
        Kind::EqualText(of, wanted, negated) => Ok(is_text(of, frame, |text| *text == **wanted)? != *negated),
        Kind::InTexts(of, texts) => is_text(of, frame, |text| texts.contains(text)),
        Kind::Text(test, of, wanted) => match at_hand(of, frame) {
            Some(text) => tested(*test, text, wanted, frame),
            None => tested(*test, &text(of, frame)?, wanted, frame),
        },
        Kind::Matches(of, regex) => match at_hand(of, frame) {
            Some(text) => matched(regex, text, frame),
            None => matched(regex, &text(of, frame)?, frame),
        },
        Kind::Equal(parts, negated) => {
            let [left, right] = &**parts;
            let (left, right) = (eval(left, frame)?, eval(right, frame)?);
            Ok(equals(&left, &right, frame)? != *negated)
        }
        Kind::Compare(comparison, parts) => {
            let [left, right] = &**parts;
            let (left, right) = (eval(left, frame)?, eval(right, frame)?);
            compare(*comparison, &left, &right)
        }
        Kind::In(parts) => {
            let [item, of] = &**parts;
            let (item, of) = (eval(item, frame)?, eval(of, frame)?);
            compare::contains(&of, &item, frame)
        }
        Kind::Has(of, field) => access::has(&eval(of, frame)?, field),
        Kind::Present(of) => match eval(of, frame) {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        },
        _ => Err(Error::no_overload()),
    }
}

/// Whether a node is a text of which something holds; what is no text is not.
#[inline]
fn is_text<'a>(of: &'a Node, frame: &mut Frame<'a>, holds: impl Fn(&str) -> bool) -> Result<bool, Error> {
    match at_hand(of, frame) {
        Some(text) => Ok(holds(text)),
        None => Ok(text_or_value(of, frame)?.is_ok_and(|text| holds(&text))),
    }
}

#[inline]
fn tested(test: TextTest, text: &str, wanted: &str, frame: &mut Frame<'_>) -> Result<bool, Error> {
    Ok(match test {
        TextTest::StartsWith => text.starts_with(wanted),
        TextTest::EndsWith => text.ends_with(wanted),
        TextTest::Contains => {
            frame.reads(text.len())?;
            text.contains(wanted)
        }
    })
}

#[inline]
fn matched(regex: &regex::Regex, text: &str, frame: &mut Frame<'_>) -> Result<bool, Error> {
    frame.reads(text.len())?;
    Ok(regex.is_match(text))
}

/// `&&` and `||`: what one side decides stands, whatever error the others have.
fn join<'a>(parts: &'a [Node], decisive: bool, frame: &mut Frame<'a>) -> Result<bool, Error> {
    let mut failed = None;
    for part in parts {
        match truth(part, frame) {
            Ok(value) if value == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(error) if error.is_limit() => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(!decisive), Err)
}

/// The text of a node that must be one.
fn text<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Result<Str<'a>, Error> {
    text_or_value(node, frame)?.map_err(|_| placed(Error::no_overload(), node))
}

/// The text of a node, or its value where that is something else. A secret is no text.
#[inline(never)]
fn text_or_value<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Result<Result<Str<'a>, Value<'a>>, Error> {
    use super::types::Type;
    if let Kind::Attribute(attribute, Type::String) = &node.kind {
        frame.step()?;
        return attribute::read_str(*attribute, frame.inputs).map(Ok).map_err(|error| placed(error, node));
    }
    Ok(match eval(node, frame)? {
        Value::String(text) => Ok(text),
        other => Err(other),
    })
}

/// The text of a node that only has to be pointed at, as what most rules compare: a path, a method, a header, a
/// claim. `None` says nothing but that it is to be evaluated; values and errors are too large to pass around for this.
#[inline]
fn at_hand<'a>(node: &'a Node, frame: &mut Frame<'a>) -> Option<&'a str> {
    let text = match &node.kind {
        Kind::Attribute(attribute, _) => attribute::at_hand(*attribute, frame.inputs),
        Kind::Claim(name) => json_get(attribute::claims(frame.inputs)?, name)?.as_str(),
        Kind::RequestHeader(name) => Headers::plain(frame.inputs.request.as_ref()?.headers, frame.inputs).single(name),
        _ => None,
    }?;
    frame.steps = frame.steps.checked_sub(1)?;
    Some(text)
}

/// Attributes with a name of their own.
fn named<'a>(kind: &'a Kind, frame: &mut Frame<'a>) -> Evaluated<'a> {
    let inputs = frame.inputs;
    match kind {
        Kind::RequestHeader(name) => {
            let request = inputs.request.as_ref().ok_or_else(|| Error::absent("request"))?;
            Headers::plain(request.headers, inputs).named(name).ok_or_else(Error::missing)
        }
        Kind::ResponseHeader(name) => {
            let headers = inputs.response.as_ref().and_then(|it| it.headers);
            let headers = headers.ok_or_else(|| Error::absent("response.headers"))?;
            Headers::plain(headers, inputs).named(name).ok_or_else(Error::missing)
        }
        Kind::Cookie(name) => {
            let request = inputs.request.as_ref().ok_or_else(|| Error::absent("request"))?;
            let cookie = attribute::cookie(request.headers, name).ok_or_else(Error::missing)?;
            Ok(attribute::guarded(cookie, inputs))
        }
        Kind::Parameter(name) => attribute::parameter(inputs, name).map(Value::str).ok_or_else(Error::missing),
        Kind::Claim(name) => {
            let claims = attribute::claims(inputs).ok_or_else(|| Error::absent("jwt"))?;
            json_get(claims, name).map(Value::json).ok_or_else(Error::missing)
        }
        Kind::KeyMetadata(name) => {
            let metadata = attribute::key_metadata(inputs).ok_or_else(|| Error::absent("apiKey"))?;
            json_get(metadata, name).map(Value::json).ok_or_else(Error::missing)
        }
        Kind::Object("") => Ok(Value::Map(super::map::variables(inputs))),
        Kind::Object(path) => attribute::value(path, inputs).ok_or_else(|| Error::absent(path)),
        Kind::Bound(name) => {
            let found = inputs.bound.iter().find(|(bound, _)| **bound == **name);
            found.map(|(_, value)| Value::borrow(value)).ok_or_else(|| undeclared(name))
        }
        Kind::Undeclared(name) => Err(undeclared(name)),
        _ => Err(Error::no_overload()),
    }
}

fn undeclared(name: &str) -> Error {
    Error::new(Cause::Undeclared(name.into()))
}

fn call<'a>(run: super::node::Run, args: &'a [Node], frame: &mut Frame<'a>) -> Evaluated<'a> {
    match args {
        [] => run(frame, &[]),
        [one] => {
            let args = [eval(one, frame)?];
            run(frame, &args)
        }
        [one, two] => {
            let args = [eval(one, frame)?, eval(two, frame)?];
            run(frame, &args)
        }
        more => {
            let args = more.iter().map(|arg| eval(arg, frame)).collect::<Result<Vec<_>, _>>()?;
            run(frame, &args)
        }
    }
}

fn list<'a>(items: &'a [(bool, Node)], frame: &mut Frame<'a>) -> Evaluated<'a> {
    let mut values = Vec::with_capacity(items.len());
    for (optional, item) in items {
        match (optional, eval(item, frame)?) {
            (false, value) => values.push(value),
            (true, Value::Optional(None)) => {}
            (true, Value::Optional(Some(value))) => values.push((*value).clone()),
            (true, _) => return Err(placed(Error::no_overload(), item)),
        }
    }
    frame.list(values)
}

fn map<'a>(parts: &'a [(bool, Node, Node)], frame: &mut Frame<'a>) -> Evaluated<'a> {
    let mut entries = Entries::default();
    for (optional, name, item) in parts {
        let key = eval(name, frame)?;
        let value = match (optional, eval(item, frame)?) {
            (false, value) => value,
            (true, Value::Optional(None)) => continue,
            (true, Value::Optional(Some(value))) => (*value).clone(),
            (true, _) => return Err(placed(Error::no_overload(), item)),
        };
        if !is_key(&key) {
            return Err(placed(Error::invalid("unsupported key type"), name));
        }
        if !entries.insert(key, value) {
            return Err(placed(Error::invalid("repeated key"), name));
        }
    }
    frame.produces(parts.len().saturating_mul(2 * size_of::<Value<'a>>()))?;
    Ok(Value::Map(Map::of(entries)))
}

/// A missing key with its name, where the name is shared already.
pub(super) fn no_key(name: &Value<'_>) -> Error {
    match name {
        Value::String(Str::Shared(name)) => Error::new(Cause::Missing(Name::Shared(name.clone()))),
        _ => Error::missing(),
    }
}
