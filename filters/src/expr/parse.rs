//! From tokens to a tree: precedence climbing over the CEL grammar.
//!
//! Every kind of nesting is counted, so that no text makes the parser, the compiler or the
//! evaluator recurse deeper than [`DEPTH_MAX`].

use super::error::Problem;
use super::lex::{Lexer, Token};

/// Longest expression.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deepest tree.
pub const DEPTH_MAX: u32 = 128;
/// Deepest nesting of brackets, operands and branches while parsing.
const NESTING_MAX: u32 = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    /// Byte offset.
    pub(super) at: u32,
    pub(super) depth: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
    /// The flag: written with a leading dot.
    Ident(Box<str>, bool),
    Select {
        of: Box<Expr>,
        field: Box<str>,
        optional: bool,
    },
    Index {
        of: Box<Expr>,
        key: Box<Expr>,
        optional: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        name: Box<str>,
        args: Vec<Expr>,
    },
    List(Vec<(bool, Expr)>),
    Map(Vec<(bool, Expr, Expr)>),
    Struct(Box<str>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Choice(Box<[Expr; 3]>),
}

/// Words that are not names.
const RESERVED: [&str; 15] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
];
const RESERVED_MORE: [&str; 2] = ["void", "while"];

pub(super) fn parse(text: &str) -> Result<Expr, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::at(text, 0, format!("expression is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { text, lexer, token, at, nesting: 0 };
    let expr = parser.choice()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("the end of the expression"));
    }
    Ok(expr)
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token,
    at: u32,
    nesting: u32,
}

type Parsed = Result<Expr, Problem>;

impl Parser<'_> {
    fn advance(&mut self) -> Result<Token, Problem> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(it) if it == sign)
    }

    fn take(&mut self, sign: &str) -> Result<bool, Problem> {
        let is = self.is(sign);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn expect(&mut self, sign: &str) -> Result<(), Problem> {
        if self.take(sign)? { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match &self.token {
            Token::Word(word) => format!("`{word}`"),
            Token::Quoted(word) => format!("`{word}` in backquotes"),
            Token::Int(_) | Token::Uint(_) | Token::Double(_) => "a number".to_owned(),
            Token::String(_) => "a text".to_owned(),
            Token::Bytes(_) => "bytes".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        Problem::at(self.text, self.at, format!("{wanted} expected, found {found}"))
    }

    fn node(&self, at: u32, below: u32, kind: Kind) -> Parsed {
        if below >= DEPTH_MAX {
            return Err(Problem::at(self.text, at, format!("expression is nested deeper than {DEPTH_MAX}")));
        }
        Ok(Expr { at, depth: below + 1, kind })
    }

    fn enter(&mut self) -> Result<(), Problem> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(Problem::at(self.text, self.at, format!("brackets are nested deeper than {NESTING_MAX}")));
        }
        Ok(())
    }

    fn choice(&mut self) -> Parsed {
        self.enter()?;
        let condition = self.any()?;
        let at = self.at;
        let expr = if self.take("?")? {
            let yes = self.any()?;
            self.expect(":")?;
            let no = self.choice()?;
            let below = condition.depth.max(yes.depth).max(no.depth);
            self.node(at, below, Kind::Choice(Box::new([condition, yes, no])))?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(expr)
    }

    fn any(&mut self) -> Parsed {
        self.chain("||", Kind::Any, Self::all)
    }

    fn all(&mut self) -> Parsed {
        self.chain("&&", Kind::All, Self::relation)
    }

    fn chain(&mut self, sign: &str, kind: fn(Vec<Expr>) -> Kind, part: fn(&mut Self) -> Parsed) -> Parsed {
        let first = part(self)?;
        if !self.is(sign) {
            return Ok(first);
        }
        let at = self.at;
        let mut parts = vec![first];
        while self.take(sign)? {
            parts.push(part(self)?);
        }
        let below = parts.iter().map(|it| it.depth).max().unwrap_or(0);
        self.node(at, below, kind(parts))
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let sign = match &self.token {
                Token::Sign(sign @ ("<" | "<=" | ">" | ">=" | "==" | "!=")) => *sign,
                Token::Word(word) if &**word == "in" => "in",
                _ => return Ok(left),
            };
            left = self.binary(sign, left, Self::sum)?;
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Token::Sign(sign @ ("+" | "-")) = self.token {
            left = self.binary(sign, left, Self::product)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        while let Token::Sign(sign @ ("*" | "/" | "%")) = self.token {
            left = self.binary(sign, left, Self::unary)?;
        }
        Ok(left)
    }

    fn binary(&mut self, sign: &'static str, left: Expr, right: fn(&mut Self) -> Parsed) -> Parsed {
        let at = self.at;
        self.advance()?;
        let right = right(self)?;
        let below = left.depth.max(right.depth);
        self.node(at, below, Kind::Binary(sign, Box::new(left), Box::new(right)))
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at;
        let mut negations = 0_usize;
        let sign = match self.token {
            Token::Sign(sign @ ("!" | "-")) => sign,
            _ => return self.member(),
        };
        while self.is(sign) {
            self.advance()?;
            negations += 1;
        }
        // The lowest number has no positive counterpart.
        if sign == "-"
            && let Token::Int(value) = self.token
            && value == 1 << 63
        {
            self.advance()?;
            let lowest = self.node(at, 0, Kind::Int(i64::MIN))?;
            negations -= 1;
            let rest = self.suffixes(lowest)?;
            return self.negated(at, sign, negations, rest);
        }
        if sign == "-" && matches!(self.token, Token::Int(_) | Token::Double(_)) && negations == 1 {
            let value = match self.advance()? {
                Token::Int(value) => Kind::Int(-i64::try_from(value).map_err(|_| self.too_large(at))?),
                Token::Double(value) => Kind::Double(-value),
                _ => return Err(self.unexpected("a number")),
            };
            let literal = self.node(at, 0, value)?;
            return self.suffixes(literal);
        }
        let inner = self.member()?;
        self.negated(at, sign, negations, inner)
    }

    fn negated(&self, at: u32, sign: &str, count: usize, inner: Expr) -> Parsed {
        let mut expr = inner;
        for _ in 0..count {
            let below = expr.depth;
            let kind = if sign == "!" { Kind::Not(Box::new(expr)) } else { Kind::Negate(Box::new(expr)) };
            expr = self.node(at, below, kind)?;
        }
        Ok(expr)
    }

    fn too_large(&self, at: u32) -> Problem {
        Problem::at(self.text, at, "the number does not fit 64 bits with a sign")
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut expr: Expr) -> Parsed {
        loop {
            let at = self.at;
            if self.take(".")? {
                let optional = self.take("?")?;
                let (field, quoted) = self.field()?;
                if !optional && !quoted && self.is("(") {
                    let args = self.arguments()?;
                    let below = args.iter().map(|it| it.depth).max().unwrap_or(0).max(expr.depth);
                    expr = self.node(at, below, Kind::Call { target: Some(Box::new(expr)), name: field, args })?;
                } else {
                    let below = expr.depth;
                    expr = self.node(at, below, Kind::Select { of: Box::new(expr), field, optional })?;
                }
            } else if self.take("[")? {
                let optional = self.take("?")?;
                let key = self.choice()?;
                self.expect("]")?;
                let below = expr.depth.max(key.depth);
                expr = self.node(at, below, Kind::Index { of: Box::new(expr), key: Box::new(key), optional })?;
            } else if self.is("{") && qualified(&expr).is_some() {
                expr = self.message(expr)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn field(&mut self) -> Result<(Box<str>, bool), Problem> {
        let is_name = match &self.token {
            Token::Word(word) => !matches!(&**word, "true" | "false" | "null" | "in"),
            Token::Quoted(_) => true,
            _ => false,
        };
        if !is_name {
            return Err(self.unexpected("a field name"));
        }
        match self.advance()? {
            Token::Word(word) => Ok((word, false)),
            Token::Quoted(word) => Ok((word, true)),
            _ => Err(self.unexpected("a field name")),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Problem> {
        self.expect("(")?;
        let mut args = Vec::new();
        if !self.is(")") {
            args.push(self.choice()?);
            while self.take(",")? {
                args.push(self.choice()?);
            }
        }
        self.expect(")")?;
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at;
        match &self.token {
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.choice()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Sign(".") => {
                self.advance()?;
                self.named(at, true)
            }
            Token::Word(_) => self.named(at, false),
            Token::Int(_) | Token::Uint(_) | Token::Double(_) | Token::String(_) | Token::Bytes(_) => self.literal(at),
            Token::Sign(_) | Token::Quoted(_) | Token::End => Err(self.unexpected("a value")),
        }
    }

    fn literal(&mut self, at: u32) -> Parsed {
        let kind = match self.advance()? {
            Token::Int(value) => Kind::Int(i64::try_from(value).map_err(|_| self.too_large(at))?),
            Token::Uint(value) => Kind::Uint(value),
            Token::Double(value) => Kind::Double(value),
            Token::String(text) => Kind::String(text),
            Token::Bytes(bytes) => Kind::Bytes(bytes),
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => return Err(self.unexpected("a literal")),
        };
        self.node(at, 0, kind)
    }

    fn named(&mut self, at: u32, absolute: bool) -> Parsed {
        let Token::Word(name) = &self.token else { return Err(self.unexpected("a name")) };
        let constant = match &**name {
            "true" => Some(Kind::Bool(true)),
            "false" => Some(Kind::Bool(false)),
            "null" => Some(Kind::Null),
            _ => None,
        };
        let name = name.clone();
        if &*name == "in" || RESERVED.contains(&&*name) || RESERVED_MORE.contains(&&*name) {
            return Err(Problem::at(self.text, self.at, format!("`{name}` is a reserved word")));
        }
        self.advance()?;
        if let Some(constant) = constant.filter(|_| !absolute) {
            return self.node(at, 0, constant);
        }
        if self.is("(") {
            let args = self.arguments()?;
            let below = args.iter().map(|it| it.depth).max().unwrap_or(0);
            return self.node(at, below, Kind::Call { target: None, name, args });
        }
        self.node(at, 0, Kind::Ident(name, absolute))
    }

    fn list(&mut self) -> Parsed {
        let at = self.at;
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.take("?")?;
            items.push((optional, self.choice()?));
            if !self.take(",")? {
                break;
            }
        }
        self.expect("]")?;
        let below = items.iter().map(|(_, it)| it.depth).max().unwrap_or(0);
        self.node(at, below, Kind::List(items))
    }

    fn map(&mut self) -> Parsed {
        let at = self.at;
        self.expect("{")?;
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.take("?")?;
            let key = self.choice()?;
            self.expect(":")?;
            entries.push((optional, key, self.choice()?));
            if !self.take(",")? {
                break;
            }
        }
        self.expect("}")?;
        let below = entries.iter().map(|(_, key, value)| key.depth.max(value.depth)).max().unwrap_or(0);
        self.node(at, below, Kind::Map(entries))
    }

    /// `Name{field: value}`: read, so that the error can say what it is.
    fn message(&mut self, name: Expr) -> Parsed {
        let at = name.at;
        self.expect("{")?;
        while !self.is("}") {
            self.take("?")?;
            self.field()?;
            self.expect(":")?;
            self.choice()?;
            if !self.take(",")? {
                break;
            }
        }
        self.expect("}")?;
        let name = qualified(&name).unwrap_or_default();
        self.node(at, 0, Kind::Struct(name.into_boxed_str()))
    }
}

/// `a.b.c`, where it is only names.
pub(super) fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name, _) => Some(name.to_string()),
        Kind::Select { of, field, optional: false } => Some(format!("{}.{field}", qualified(of)?)),
        _ => None,
    }
}
