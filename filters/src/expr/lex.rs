//! From text to tokens, one at a time.

use super::error::Problem;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or keyword.
    Word(Box<str>),
    /// A name in backquotes: a field only.
    Quoted(Box<str>),
    Int(u64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
    /// Operators and punctuation.
    Sign(&'static str),
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token, u32), Problem> {
        self.skip();
        let start = self.position;
        let rest = self.rest();
        let token = match rest.bytes().next() {
            None => Token::End,
            Some(b'0'..=b'9') => self.number()?,
            Some(b'.') if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number()?,
            Some(b'"' | b'\'') => self.string("")?,
            Some(b'`') => self.backquoted()?,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.word()?,
            Some(_) => self.sign()?,
        };
        Ok((token, u32::try_from(start).unwrap_or(u32::MAX)))
    }

    /// Where the next token is looked for.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn problem(&self, at: usize, reason: impl Into<String>) -> Problem {
        Problem::at(self.text, u32::try_from(at).unwrap_or(u32::MAX), reason)
    }

    /// White space and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.position += rest.len() - bare.len();
            if !bare.starts_with("//") {
                return;
            }
            self.position += bare.find('\n').unwrap_or(bare.len());
        }
    }

    fn sign(&mut self) -> Result<Token, Problem> {
        let rest = self.rest();
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.position += sign.len();
                Ok(Token::Sign(sign))
            }
            None => {
                let c = rest.chars().next().unwrap_or(' ');
                let cure = match c {
                    '=' => "; write `==` to compare",
                    '&' => "; write `&&`",
                    '|' => "; write `||`",
                    _ => "",
                };
                Err(self.problem(self.position, format!("unexpected character `{}`{cure}", c.escape_debug())))
            }
        }
    }

    fn word(&mut self) -> Result<Token, Problem> {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_prefix = matches!(word, "r" | "R" | "b" | "B" | "rb" | "rB" | "Rb" | "RB" | "br" | "bR" | "Br" | "BR");
        if is_prefix && after.starts_with(['"', '\'']) {
            self.position += end;
            return self.string(word);
        }
        self.position += end;
        Ok(Token::Word(word.into()))
    }

    fn backquoted(&mut self) -> Result<Token, Problem> {
        let start = self.position;
        let rest = self.rest().get(1..).unwrap_or("");
        let Some(end) = rest.find('`') else {
            return Err(self.problem(start, "name without closing backquote"));
        };
        let name = rest.get(..end).unwrap_or("");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/' | b' ');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(self.problem(start, "a name in backquotes has letters, digits, `_`, `.`, `-`, `/` and spaces"));
        }
        self.position += end + 2;
        Ok(Token::Quoted(name.into()))
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.position;
        let rest = self.rest();
        let bytes = rest.as_bytes();
        if rest.starts_with("0x") || rest.starts_with("0X") {
            let digits = rest.get(2..).unwrap_or("");
            let end = digits.bytes().position(|b| !b.is_ascii_hexdigit()).unwrap_or(digits.len());
            self.position += 2 + end;
            let value = u64::from_str_radix(digits.get(..end).unwrap_or(""), 16);
            let value = value.map_err(|_| self.problem(start, "not a 64-bit hexadecimal number"))?;
            return self.whole(value, start);
        }
        let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        let mut is_double = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            is_double = true;
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                is_double = true;
                end += 1 + sign + exponent;
            }
        }
        self.position += end;
        let text = rest.get(..end).unwrap_or("");
        if is_double {
            let value = text.parse().map_err(|_| self.problem(start, format!("`{text}` is not a number")))?;
            return self.unadorned(Token::Double(value), start);
        }
        let value = text.parse().map_err(|_| self.problem(start, format!("`{text}` does not fit 64 bits")))?;
        self.whole(value, start)
    }

    fn whole(&mut self, value: u64, start: usize) -> Result<Token, Problem> {
        if self.rest().starts_with(['u', 'U']) {
            self.position += 1;
            return self.unadorned(Token::Uint(value), start);
        }
        self.unadorned(Token::Int(value), start)
    }

    /// A number must not run into a name.
    fn unadorned(&self, token: Token, start: usize) -> Result<Token, Problem> {
        if self.rest().starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err(self.problem(start, "a number runs into a name"));
        }
        Ok(token)
    }

    /// A text or byte literal; `prefix` has been read.
    fn string(&mut self, prefix: &str) -> Result<Token, Problem> {
        let start = self.position;
        let raw = prefix.contains(['r', 'R']);
        let is_bytes = prefix.contains(['b', 'B']);
        let rest = self.rest();
        let quote = if rest.starts_with("\"\"\"") || rest.starts_with("'''") { rest.get(..3) } else { rest.get(..1) };
        let quote = quote.unwrap_or("\"");
        self.position += quote.len();
        let mut out: Vec<u8> = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.position += quote.len();
                break;
            }
            let Some(c) = rest.chars().next() else { return Err(self.problem(start, "text without closing quote")) };
            if quote.len() == 1 && matches!(c, '\n' | '\r') {
                return Err(self.problem(start, "text without closing quote on its line"));
            }
            self.position += c.len_utf8();
            if c == '\\' && !raw {
                self.escape(is_bytes, &mut out)?;
            } else {
                // Line ends of a multi-line text are one kind, whatever edits the file.
                let c = if c == '\r' && quote.len() == 3 { self.line_end() } else { c };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if is_bytes {
            return Ok(Token::Bytes(out.into_boxed_slice()));
        }
        let text = String::from_utf8(out).map_err(|_| self.problem(start, "text that is not UTF-8"))?;
        Ok(Token::String(text.into_boxed_str()))
    }

    fn line_end(&mut self) -> char {
        if self.rest().starts_with('\n') {
            self.position += 1;
        }
        '\n'
    }

    fn escape(&mut self, is_bytes: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let at = self.position.saturating_sub(1);
        let Some(c) = self.rest().chars().next() else { return Err(self.problem(at, "text without closing quote")) };
        self.position += c.len_utf8();
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => c as u8,
            'x' | 'X' => return self.code(at, 2, 16, is_bytes, out),
            'u' if !is_bytes => return self.code(at, 4, 16, false, out),
            'U' if !is_bytes => return self.code(at, 8, 16, false, out),
            '0'..='3' => {
                self.position -= 1;
                return self.code(at, 3, 8, is_bytes, out);
            }
            _ => return Err(self.problem(at, format!("unknown escape `\\{}`", c.escape_debug()))),
        };
        out.push(simple);
        Ok(())
    }

    fn code(&mut self, at: usize, digits: usize, radix: u32, is_byte: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let text = self.rest().get(..digits).filter(|text| text.chars().all(|c| c.is_digit(radix)));
        let code = text.and_then(|text| u32::from_str_radix(text, radix).ok());
        let Some(code) = code else { return Err(self.problem(at, format!("{digits} digits expected in the escape"))) };
        self.position += digits;
        if is_byte {
            out.push(u8::try_from(code).map_err(|_| self.problem(at, "a byte is 0 to 255"))?);
            return Ok(());
        }
        match char::from_u32(code) {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => return Err(self.problem(at, "not a character of Unicode")),
        }
        Ok(())
    }
}
