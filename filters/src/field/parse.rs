//! Reading fields and predicates: a small recursive-descent parser over bounded text.

use super::{DEPTH_MAX, Field, Operator, Predicate, TEXT_BYTES_MAX};
use crate::head;
use crate::near;

/// Fields without an argument, by name.
pub(super) const SIMPLE: [(&str, Field); 12] = [
    ("request.method", Field::RequestMethod),
    ("request.path", Field::RequestPath),
    ("request.uri", Field::RequestUri),
    ("request.host", Field::RequestHost),
    ("request.scheme", Field::RequestScheme),
    ("request.version", Field::RequestVersion),
    ("response.code", Field::ResponseCode),
    ("source.address", Field::SourceAddress),
    ("source.port", Field::SourcePort),
    ("backend.name", Field::BackendName),
    ("route.name", Field::RouteName),
    ("listener.name", Field::ListenerName),
];

/// Fields with an argument.
const MAPS: [&str; 4] = ["request.headers", "request.cookies", "request.query", "response.headers"];

pub(super) fn field(text: &str) -> Result<Field, String> {
    let mut parser = Parser::new(text)?;
    let field = parser.operand()?;
    parser.end()?;
    Ok(field)
}

pub(super) fn predicate(text: &str) -> Result<Predicate, String> {
    let mut parser = Parser::new(text)?;
    let predicate = parser.any(0)?;
    parser.end()?;
    Ok(predicate)
}

struct Parser<'a> {
    text: &'a str,
    /// Byte position of what is read next; always at a character boundary.
    position: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let mut parser = Self { text, position: 0 };
        parser.skip_space();
        Ok(parser)
    }

    fn any(&mut self, depth: usize) -> Result<Predicate, String> {
        let first = self.all(depth)?;
        if !self.rest().starts_with("||") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take("||") {
            parts.push(self.all(depth)?);
        }
        Ok(Predicate::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Predicate, String> {
        let first = self.unary(depth)?;
        if !self.rest().starts_with("&&") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take("&&") {
            parts.push(self.unary(depth)?);
        }
        Ok(Predicate::All(parts))
    }

    fn unary(&mut self, depth: usize) -> Result<Predicate, String> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        if !self.rest().starts_with("!=") && self.take("!") {
            return Ok(Predicate::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            if !self.take(")") {
                return Err(self.error("`)` expected"));
            }
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Predicate, String> {
        for (word, value) in [("true", true), ("false", false)] {
            if self.word() == word {
                self.position += word.len();
                self.skip_space();
                return Ok(Predicate::Constant(value));
            }
        }
        let start = self.position;
        let left = self.operand()?;
        let Some(operator) = self.operator() else {
            return Err(self.error("comparison expected: `==`, `!=`, `<`, `<=`, `>` or `>=`"));
        };
        let right = self.operand()?;
        if left.is_int() != right.is_int() {
            self.position = start;
            let (number, text) = if left.is_int() { (&left, &right) } else { (&right, &left) };
            return Err(self.error(format!("{number} is a number and {text} is a text: they cannot be compared")));
        }
        Ok(Predicate::Compare(left, operator, right))
    }

    fn operator(&mut self) -> Option<Operator> {
        // The longer ones first.
        for operator in [
            Operator::Equal,
            Operator::NotEqual,
            Operator::LessOrEqual,
            Operator::GreaterOrEqual,
            Operator::Less,
            Operator::Greater,
        ] {
            if self.take(operator.symbol()) {
                return Some(operator);
            }
        }
        None
    }

    fn operand(&mut self) -> Result<Field, String> {
        match self.rest().bytes().next() {
            Some(b'"' | b'\'') => Ok(Field::Text(self.quoted()?.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.named(),
            Some(_) | None => Err(self.error("field, text or number expected")),
        }
    }

    fn number(&mut self) -> Result<Field, String> {
        let rest = self.rest();
        let end =
            rest.bytes().skip(1).position(|b| !b.is_ascii_alphanumeric() && b != b'.').map_or(rest.len(), |it| it + 1);
        let text = rest.get(..end).unwrap_or(rest);
        let number = text.parse().map_err(|_| self.error(format!("`{text}` is not a whole number")))?;
        self.position += end;
        self.skip_space();
        Ok(Field::Int(number))
    }

    /// `request.path`, `request.headers["name"]`, `request.headers.name`.
    fn named(&mut self) -> Result<Field, String> {
        let start = self.position;
        let root = self.word();
        self.position += root.len();
        if !self.rest().starts_with('.') {
            self.position = start;
            return Err(self.unknown(root));
        }
        self.position += 1;
        let member = self.word();
        self.position += member.len();
        let name = format!("{root}.{member}");
        if let Some((_, field)) = SIMPLE.iter().find(|(known, _)| *known == name) {
            self.skip_space();
            return Ok(field.clone());
        }
        if !MAPS.contains(&name.as_str()) {
            self.position = start;
            return Err(self.unknown(&name));
        }
        let argument_at = self.position;
        let argument = self.argument(&name)?;
        let header = |this: &mut Self| {
            head::any_name(&argument).map_err(|reason| {
                this.position = argument_at;
                this.error(reason)
            })
        };
        Ok(match name.as_str() {
            "request.headers" => Field::RequestHeader(header(self)?),
            "response.headers" => Field::ResponseHeader(header(self)?),
            "request.cookies" => Field::RequestCookie(argument.into()),
            _ => Field::RequestQuery(argument.into()),
        })
    }

    fn argument(&mut self, map: &str) -> Result<String, String> {
        if self.rest().starts_with('.') {
            self.position += 1;
            let name = self.word();
            if name.is_empty() {
                return Err(self.error("name expected"));
            }
            self.position += name.len();
            self.skip_space();
            return Ok(name.to_owned());
        }
        if !self.take("[") || !self.rest().starts_with(['"', '\'']) {
            return Err(self.error(format!("name expected: write `{map}[\"name\"]`")));
        }
        let name = self.quoted()?;
        if !self.take("]") {
            return Err(self.error("`]` expected"));
        }
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let start = self.position;
        let mut chars = self.rest().char_indices();
        let Some((_, quote)) = chars.next() else { return Err(self.error("text expected")) };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.position = start + at + quote.len_utf8();
                    self.skip_space();
                    return Ok(text);
                }
                '\\' => {
                    let escaped = chars.next().map(|(_, c)| c);
                    text.push(match escaped {
                        Some('n') => '\n',
                        Some('r') => '\r',
                        Some('t') => '\t',
                        Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => c,
                        _ => {
                            self.position = start + at;
                            return Err(self.error("unknown escape: write `\\n`, `\\r`, `\\t`, `\\\\` or a quote"));
                        }
                    });
                }
                c => text.push(c),
            }
        }
        Err(self.error("text without closing quote"))
    }

    /// Letters, digits and `_` ahead; nothing is consumed.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(rest.len());
        rest.get(..end).unwrap_or(rest)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn take(&mut self, symbol: &str) -> bool {
        let taken = self.rest().starts_with(symbol);
        if taken {
            self.position += symbol.len();
            self.skip_space();
        }
        taken
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn end(&self) -> Result<(), String> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("end of expression expected")) }
    }

    fn unknown(&self, name: &str) -> String {
        let known = SIMPLE.iter().map(|(name, _)| *name).chain(MAPS);
        let hint = near::hint(name, known);
        self.error(format!("`{name}` is not a field this version knows{hint}"))
    }

    fn error(&self, reason: impl std::fmt::Display) -> String {
        format!("{reason} (at character {})", self.text.get(..self.position).unwrap_or("").chars().count() + 1)
    }
}
