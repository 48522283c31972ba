//! Roles: temporary credentials that STS gives out in a role's name (`AssumeRole`), one session for each name and tags.

use ir::Text;
use serde::Serialize;

use super::is_name;
use crate::expr::{Expression, Inputs};

/// What a session is called unless something is written.
const NAME: &str = "agentgateway";
/// Tags of a session (STS API, AssumeRole).
const TAGS_MAX: usize = 50;
/// Longest ARN.
const ARN_BYTES_MAX: usize = 2048;

/// The role whose credentials sign.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    pub arn: Text,
    pub session_name: Said,
    /// Keys with their values.
    pub tags: Vec<(Text, Said)>,
}

/// A text, or an expression over the request that gives one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    Text(Text),
    Expression(Expression),
}

/// A session of a role, by all that makes it another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assumed {
    pub arn: Text,
    pub name: Text,
    pub tags: Vec<(Text, Text)>,
    /// Whose STS is asked. Absent: that of the process.
    pub region: Option<Text>,
}

impl Role {
    /// From its parts, as configuration of any form has them.
    ///
    /// # Errors
    /// Which key is no good, and why.
    pub fn new(arn: Text, session_name: Option<Said>, tags: Vec<(Text, Said)>) -> Result<Self, (&'static str, String)> {
        let is_arn =
            arn.starts_with("arn:aws") && arn.contains(":role/") && arn.bytes().all(|it| it.is_ascii_graphic());
        if !is_arn || arn.len() > ARN_BYTES_MAX {
            return Err(("roleArn", "the ARN of a role is like `arn:aws:iam::123456789012:role/name`".to_owned()));
        }
        let session_name = session_name.unwrap_or_else(|| Said::Text(NAME.into()));
        if let Said::Text(name) = &session_name {
            session(name).map_err(|why| ("sessionName", why))?;
        }
        if tags.len() > TAGS_MAX {
            return Err(("tags", format!("more than {TAGS_MAX}")));
        }
        for (position, (key, value)) in tags.iter().enumerate() {
            tag(key, 1..=128).map_err(|why| ("tags", format!("[{position}].key: {why}")))?;
            if tags.iter().take(position).any(|(other, _)| other.eq_ignore_ascii_case(key)) {
                return Err(("tags", format!("`{key}` is there twice: upper and lower case are the same")));
            }
            if let Said::Text(value) = value {
                tag(value, 0..=256).map_err(|why| ("tags", format!("[{position}].value: {why}")))?;
            }
        }
        Ok(Self { arn, session_name, tags })
    }

    /// The session for a request.
    ///
    /// # Errors
    /// An expression gives nothing that STS takes.
    pub(super) fn session(&self, inputs: &Inputs<'_>, region: Option<Text>) -> Result<Assumed, String> {
        let name = self.session_name.of(inputs).and_then(|it| session(&it).map(|()| it));
        let name = name.map_err(|why| format!("assumeRole.sessionName: {why}"))?;
        let tags = self.tags.iter().map(|(key, value)| {
            let value = value.of(inputs).and_then(|it| tag(&it, 0..=256).map(|()| it));
            value.map(|it| (key.clone(), it)).map_err(|why| format!("assumeRole.tags: `{key}`: {why}"))
        });
        Ok(Assumed { arn: self.arn.clone(), name, tags: tags.collect::<Result<_, _>>()?, region })
    }

    /// The session of all requests, where it is one.
    pub(super) fn constant(&self, region: Option<Text>) -> Option<Assumed> {
        let fixed = |it: &Said| matches!(it, Said::Text(_));
        let all = fixed(&self.session_name) && self.tags.iter().all(|(_, it)| fixed(it));
        all.then(|| self.session(&Inputs::default(), region).ok())?
    }
}

impl Said {
    fn of(&self, inputs: &Inputs<'_>) -> Result<Text, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Expression(expression) => {
                let value = expression.evaluate(inputs).map_err(|error| expression.explain(&error))?;
                let text = value.to_header().ok_or("the expression gives no text")?;
                let text = std::str::from_utf8(&text).map_err(|_| "the expression gives no text")?;
                Ok(text.into())
            }
        }
    }
}

/// STS API, AssumeRole: `RoleSessionName`.
fn session(name: &str) -> Result<(), String> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"_+=,.@-".contains(&it);
    match (2..=64).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(()),
        false => Err("a name of a session is of 2 to 64 letters, digits and `_+=,.@-`".to_owned()),
    }
}

/// STS API, `Tag`.
fn tag(text: &str, length: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    let fits = |it: char| it.is_alphanumeric() || it.is_whitespace() && it != '\n' || "_.:/=+-@".contains(it);
    match length.contains(&text.chars().count()) && text.chars().all(fits) {
        true => Ok(()),
        false => {
            let (least, most) = length.into_inner();
            Err(format!("{least} to {most} letters, digits, spaces and `_.:/=+-@`"))
        }
    }
}

/// Which region a host is of, where nothing else is written.
pub(super) fn region_of(host: Option<&str>) -> Option<Text> {
    let host = host.map(|it| super::host_name(it).to_ascii_lowercase())?;
    super::named_by(&host).map(|(_, region)| region).filter(|it| is_name(it)).map(Text::from)
}
