//! User functions (`config.customFunctions`): `name(a, b, rest...) { expr }`, or on a value:
//! `this.name(a) { expr }`.
//!
//! A call is its body with its parameters bound, so functions cost nothing of their own, read only
//! what they name, and are checked at each call for the site it stands in. They may use each other in
//! any order, but not themselves: there is no recursion.

use std::sync::Arc;

use super::compile;
use super::error::Problem;
use super::functions;
use super::lex::{Lexer, Token};
use super::parse::{self, Expr};

/// Functions of one process.
const FUNCTIONS_MAX: usize = 256;
/// All definitions together.
const TEXT_BYTES_MAX: usize = 256 * 1024;
const PARAMETERS_MAX: usize = 16;

/// All user functions.
#[derive(Clone, Debug, Default)]
pub struct UserFunctions(Arc<Vec<UserFunction>>);

#[derive(Debug)]
pub(super) struct UserFunction {
    name: Box<str>,
    is_method: bool,
    parameters: Vec<Box<str>>,
    /// The last parameter takes what is left, as a list.
    is_variadic: bool,
    pub(super) body: Expr,
    at: u32,
}

impl UserFunctions {
    /// Reads and checks a text of definitions.
    ///
    /// # Errors
    /// Everything that is wrong with it; positions are in this text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(vec![Problem::at(text, 0, format!("longer than {TEXT_BYTES_MAX} bytes"))]);
        }
        let functions = read(text).map_err(|problem| vec![problem])?;
        let functions = Self(Arc::new(functions));
        let mut problems = functions.collisions(text);
        problems.extend(functions.circles(text));
        if problems.is_empty() {
            problems.extend(functions.bodies(text));
        }
        if problems.is_empty() { Ok(functions) } else { Err(problems) }
    }

    pub(super) fn get(&self, name: &str, is_method: bool) -> Option<&UserFunction> {
        self.0.iter().find(|it| *it.name == *name && it.is_method == is_method)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|it| &*it.name)
    }

    fn collisions(&self, text: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (position, function) in self.0.iter().enumerate() {
            let name = &*function.name;
            if functions::exists(name) || functions::MACROS.contains(&name) {
                problems.push(Problem::at(text, function.at, format!("`{name}` is a built-in function")));
            } else if self.0.iter().take(position).any(|other| *other.name == *name) {
                problems.push(Problem::at(text, function.at, format!("`{name}` is defined twice")));
            }
        }
        problems
    }

    /// Functions that come back to themselves.
    fn circles(&self, text: &str) -> Vec<Problem> {
        let called: Vec<Vec<usize>> = self.0.iter().map(|it| self.called(&it.body)).collect();
        let mut problems = Vec::new();
        for (position, function) in self.0.iter().enumerate() {
            let mut seen = vec![false; self.0.len()];
            let mut open = called.get(position).cloned().unwrap_or_default();
            while let Some(next) = open.pop() {
                match seen.get_mut(next) {
                    Some(seen) if !*seen => *seen = true,
                    Some(_) | None => continue,
                }
                open.extend(called.get(next).into_iter().flatten());
            }
            if seen.get(position).copied().unwrap_or(false) {
                problems.push(Problem::at(text, function.at, format!("`{}` calls itself", function.name)));
            }
        }
        problems
    }

    fn called(&self, body: &Expr) -> Vec<usize> {
        let mut called = Vec::new();
        compile::calls(body, &mut |name, is_method| {
            let position = self.0.iter().position(|it| *it.name == *name && it.is_method == is_method);
            called.extend(position);
        });
        called
    }

    /// What each body itself says wrong, wherever it is called.
    fn bodies(&self, text: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for function in self.0.iter() {
            if let Err(found) = compile::function(function, self) {
                let reasons = found.into_iter().map(|it| it.reason);
                problems.extend(
                    reasons.map(|reason| Problem::at(text, function.at, format!("`{}`: {reason}", function.name))),
                );
            }
        }
        problems
    }
}

impl UserFunction {
    pub(super) fn accepts(&self, args: usize) -> Result<(), String> {
        let fixed = self.parameters.len() - usize::from(self.is_variadic);
        let fits = if self.is_variadic { args >= fixed } else { args == fixed };
        let more = if self.is_variadic { " or more" } else { "" };
        if fits { Ok(()) } else { Err(format!("`{}` takes {fixed}{more} arguments, not {args}", self.name)) }
    }

    /// Parameters with the arguments each takes.
    pub(super) fn bind<'e>(&self, args: &'e [Expr]) -> Vec<(Box<str>, Vec<&'e Expr>)> {
        let last = self.parameters.len().saturating_sub(1);
        let of = |position: usize| match self.is_variadic && position == last {
            true => args.iter().skip(position).collect(),
            false => args.get(position).into_iter().collect(),
        };
        self.parameters.iter().enumerate().map(|(position, name)| (name.clone(), of(position))).collect()
    }

    pub(super) fn is_rest(&self, parameter: &str) -> bool {
        self.is_variadic && self.parameters.last().is_some_and(|last| **last == *parameter)
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = Box<str>> {
        let this = self.is_method.then(|| "this".into());
        this.into_iter().chain(self.parameters.iter().cloned())
    }
}

/// All definitions of a text.
fn read(text: &str) -> Result<Vec<UserFunction>, Problem> {
    let mut functions = Vec::new();
    let mut lexer = Lexer::new(text);
    loop {
        let (token, at) = lexer.next()?;
        match token {
            Token::End => return Ok(functions),
            Token::Word(word) => functions.push(one(text, &mut lexer, word, at)?),
            _ => return Err(Problem::at(text, at, "the name of a function expected")),
        }
        if functions.len() > FUNCTIONS_MAX {
            return Err(Problem::at(text, at, format!("more than {FUNCTIONS_MAX} functions")));
        }
    }
}

fn one(text: &str, lexer: &mut Lexer<'_>, word: Box<str>, at: u32) -> Result<UserFunction, Problem> {
    let mut name = word;
    let (mut token, mut here) = lexer.next()?;
    let is_method = &*name == "this" && token == Token::Sign(".");
    if is_method {
        (token, here) = lexer.next()?;
        let Token::Word(word) = token else { return Err(Problem::at(text, here, "the name of a function expected")) };
        name = word;
        (token, here) = lexer.next()?;
    }
    if token != Token::Sign("(") {
        return Err(Problem::at(text, here, "`(` expected after the name of a function"));
    }
    let (parameters, is_variadic) = parameters(text, lexer)?;
    let (token, here) = lexer.next()?;
    if token != Token::Sign("{") {
        return Err(Problem::at(text, here, "`{` expected before the body of a function"));
    }
    let start = lexer.position();
    let mut depth = 1_usize;
    loop {
        let (token, here) = lexer.next()?;
        match token {
            Token::Sign("{") => depth += 1,
            Token::Sign("}") => depth -= 1,
            Token::End => return Err(Problem::at(text, at, "`}` expected after the body of a function")),
            _ => {}
        }
        if depth == 0 {
            let body = text.get(start..here as usize).unwrap_or("");
            let body = parse::parse(body).map_err(|problem| moved(text, start, body, problem))?;
            return Ok(UserFunction { name, is_method, parameters, is_variadic, body, at });
        }
    }
}

/// A problem of a body, as a position in the whole text.
fn moved(text: &str, start: usize, body: &str, problem: Problem) -> Problem {
    let line = body.split_inclusive('\n').take(problem.line.saturating_sub(1) as usize).map(str::len).sum::<usize>();
    let inside = body.get(line..).unwrap_or("").char_indices().nth(problem.column.saturating_sub(1) as usize);
    let offset = start + line + inside.map_or(body.len() - line.min(body.len()), |(at, _)| at);
    Problem::at(text, u32::try_from(offset).unwrap_or(u32::MAX), problem.reason)
}

fn parameters(text: &str, lexer: &mut Lexer<'_>) -> Result<(Vec<Box<str>>, bool), Problem> {
    let mut names: Vec<Box<str>> = Vec::new();
    loop {
        let (token, at) = lexer.next()?;
        match token {
            Token::Sign(")") if names.is_empty() => return Ok((names, false)),
            Token::Word(name) if names.contains(&name) || &*name == "this" => {
                return Err(Problem::at(text, at, format!("`{name}` names two parameters")));
            }
            Token::Word(name) => names.push(name),
            _ => return Err(Problem::at(text, at, "the name of a parameter expected")),
        }
        if names.len() > PARAMETERS_MAX {
            return Err(Problem::at(text, at, format!("more than {PARAMETERS_MAX} parameters")));
        }
        let (token, at) = lexer.next()?;
        match token {
            Token::Sign(",") => {}
            Token::Sign(")") => return Ok((names, false)),
            Token::Sign(".") => {
                let dots = [lexer.next()?.0, lexer.next()?.0, lexer.next()?.0];
                if dots != [Token::Sign("."), Token::Sign("."), Token::Sign(")")] {
                    return Err(Problem::at(text, at, "`...)` expected: only the last parameter takes the rest"));
                }
                return Ok((names, true));
            }
            _ => return Err(Problem::at(text, at, "`,` or `)` expected after a parameter")),
        }
    }
}
