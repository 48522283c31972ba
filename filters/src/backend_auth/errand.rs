//! How credentials are had, step by step: what is asked where, and what an answer means. Who asks is the gateway.

use std::time::Duration;

use http::HeaderValue;
use ir::Secret;
use serde_json::Value;

/// Longest token.
const TOKEN_BYTES_MAX: usize = 16 << 10;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// Something to be asked.
#[derive(Clone, Debug)]
pub struct Errand {
    pub url: String,
    /// Headers beside the usual ones; they may be secrets.
    pub headers: Vec<(&'static str, Secret)>,
    /// What is sent, and of what type it is.
    pub post: Option<(&'static str, Secret)>,
    pub near: Near,
}

/// Addresses that are never dialled otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    Nobody,
    /// A metadata server: nothing else may be asked there, and nothing else leads there.
    Metadata,
    /// The address in the URL, which the environment of the process names.
    Told,
}

/// What is to be done next.
#[derive(Clone, Debug)]
pub enum Step {
    Ask(Errand),
    /// A file is to be read.
    Read(String),
    /// A program is to be run, without a shell; what it writes comes.
    Run(Vec<String>),
    /// A token, and how long it is good for.
    Done(Secret, Duration),
}

/// A way to a token.
pub trait Way: Send {
    /// The first step, by the wall clock.
    ///
    /// # Errors
    /// For the log: nothing of a secret is said.
    fn begin(&mut self, now: Duration) -> Result<Step, String>;

    /// The next one, once this came.
    ///
    /// # Errors
    /// For the log: nothing of a secret is said.
    fn go_on(&mut self, status: u16, came: &[u8], now: Duration) -> Result<Step, String>;
}

impl Errand {
    pub(super) fn get(url: String) -> Self {
        Self { url, headers: Vec::new(), post: None, near: Near::Nobody }
    }

    pub(super) fn post(url: &str, kind: &'static str, body: String) -> Self {
        Self { post: Some((kind, Secret::new(body.into_bytes()))), ..Self::get(url.to_owned()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, Secret::new(value.to_vec())));
        self
    }
}

/// A token as it is sent.
///
/// # Errors
/// It cannot be; nothing of it is said.
pub fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
    let mut value = value.map_err(|_| "the token is none that can be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn sendable(token: &str) -> Result<Secret, String> {
    match (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|it| it.is_ascii_graphic()) {
        true => Ok(Secret::new(token.as_bytes().to_vec())),
        false => Err("the token is none that can be sent".to_owned()),
    }
}

/// What an error says, without anything that could be a secret.
pub(super) fn refused(status: u16, came: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(came).ok();
    let error = document.as_ref().and_then(|it| it.get("error"));
    let name = error.and_then(|it| it.as_str().or_else(|| it.get("status")?.as_str()));
    let name: String = name.unwrap_or_default().chars().filter(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
    match name.get(..name.len().min(64)).unwrap_or_default() {
        "" => format!("status {status}"),
        name => format!("status {status}: {name}"),
    }
}

/// A form, or a query.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        super::policy::percent_encode(value.as_bytes(), &mut out);
    }
    out
}
