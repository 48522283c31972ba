//! What predecessor, successor and the command line say to each other: frames and their limits.
//!
//! A frame is two lengths (4 bytes each, big endian: of all that follows, and of the JSON in it), a JSON message and,
//! with some messages, bytes behind it. Fields that are not known are ignored, so that a version can add some; a
//! message that is not known is [`Message::Unknown`]. This is only reading and writing bytes: no socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What we speak.
pub const VERSION: u32 = 2;
/// The oldest we can talk to.
pub const VERSION_MIN: u32 = 2;

/// The JSON of one frame.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes behind the JSON: one part of the state of a process.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Sockets of one process.
pub const SOCKETS_MAX: usize = 65_536;
/// Parts of the state of a process.
pub const STATES_MAX: usize = 64;
/// Predecessors that drain at once and are told of.
pub const GENERATIONS_MAX: usize = 32;

/// Lengths in front of each frame.
pub const HEAD_BYTES: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    #[error("the message is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the peer speaks version 1 of the hand-off, and we speak {VERSION_MIN} to {VERSION}: restart instead")]
    First,
    #[error("a frame of {length} bytes with a message of {message} is longer than allowed, or not a frame")]
    Length { length: usize, message: usize },
}

/// The versions a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub v: u32,
    pub min: u32,
}

impl Versions {
    pub const OURS: Self = Self { v: VERSION, min: VERSION_MIN };

    /// Why the two of us cannot talk, if so.
    pub fn objection(self) -> Option<String> {
        let Self { v, min } = self;
        let apart = v < VERSION_MIN || min > VERSION;
        apart.then(|| {
            format!("the peer speaks versions {min} to {v} of the hand-off, and we {VERSION_MIN} to {VERSION}: restart instead")
        })
    }
}

/// Why something asked for is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// Another upgrade is under way.
    Busy,
    /// This process is on its way out, or not yet in office.
    NotServing,
    /// The program to start is not one to be started.
    Binary,
    /// The versions have nothing in common.
    Version,
    /// The peer is somebody else.
    Peer,
    #[serde(other)]
    Other,
}

/// A socket that travels with the frame that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    /// As the configuration says it: `*:8080`, `127.0.0.1:0`, `unix:/run/x`.
    pub address: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Message {
    /// Successor: give me what you have.
    Takeover {
        #[serde(flatten)]
        versions: Versions,
        pid: u32,
        /// Of the program.
        version: String,
    },
    /// Command line: start a successor.
    Upgrade {
        #[serde(flatten)]
        versions: Versions,
        #[serde(default)]
        binary: Option<PathBuf>,
        /// Say how it ended, not only that it began.
        #[serde(default)]
        wait: bool,
    },
    /// Command line: what is the state of things?
    Status {
        #[serde(flatten)]
        versions: Versions,
    },
    /// Predecessor: this is what I am, and what follows until `Given`.
    Manifest {
        #[serde(flatten)]
        versions: Versions,
        pid: u32,
        generation: u64,
        /// Binds that do not listen here either.
        #[serde(default)]
        failing: Vec<String>,
    },
    /// Listening sockets; as many descriptors come along.
    Sockets { entries: Vec<Entry> },
    /// A part of the state; its bytes follow the JSON.
    State { name: String, version: u32 },
    /// Where processes that drain report from, and what each said last; as many descriptors come along.
    Channels { views: Vec<serde_json::Value> },
    /// The predecessor's standard error comes along.
    Stderr,
    /// That was all for now.
    Given,
    /// Successor: configured, bound and checked.
    Ready,
    /// Successor: not going to be ready.
    Failed { reason: String },
    /// Predecessor: accept.
    Yours,
    /// Successor: accepting.
    Serving,
    /// It is not going to be.
    Refused {
        #[serde(flatten)]
        versions: Versions,
        why: Refusal,
        reason: String,
    },
    /// To the command line: a successor is being started.
    Started { pid: u32 },
    /// To the command line: how it ended.
    Ended {
        pid: u32,
        #[serde(default)]
        error: Option<String>,
        seconds: f64,
    },
    /// To the command line: the state of things.
    Report { view: serde_json::Value },
    #[serde(other)]
    Unknown,
}

impl Message {
    /// The word a log or an error names it by.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Takeover { .. } => "takeover",
            Self::Upgrade { .. } => "upgrade",
            Self::Status { .. } => "status",
            Self::Manifest { .. } => "manifest",
            Self::Sockets { .. } => "sockets",
            Self::State { .. } => "state",
            Self::Channels { .. } => "channels",
            Self::Stderr => "stderr",
            Self::Given => "given",
            Self::Ready => "ready",
            Self::Failed { .. } => "failed",
            Self::Yours => "yours",
            Self::Serving => "serving",
            Self::Refused { .. } => "refused",
            Self::Started { .. } => "started",
            Self::Ended { .. } => "ended",
            Self::Report { .. } => "report",
            Self::Unknown => "a message that is not known",
        }
    }
}

/// The bytes of a frame.
pub fn encode(message: &Message, payload: &[u8]) -> Result<Vec<u8>, FrameFault> {
    let json = serde_json::to_vec(message)?;
    let (message, length) = (json.len(), 4 + json.len() + payload.len());
    let fault = FrameFault::Length { length, message };
    if message > MESSAGE_BYTES_MAX || payload.len() > PAYLOAD_BYTES_MAX {
        return Err(fault);
    }
    let (Ok(all), Ok(part)) = (u32::try_from(length), u32::try_from(message)) else { return Err(fault) };
    let mut frame = Vec::with_capacity(4 + length);
    frame.extend_from_slice(&all.to_be_bytes());
    frame.extend_from_slice(&part.to_be_bytes());
    frame.extend_from_slice(&json);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// The lengths a frame begins with: of the JSON, and of the bytes behind it.
pub fn lengths(head: [u8; HEAD_BYTES]) -> Result<(usize, usize), FrameFault> {
    let [a, b, c, d, rest @ ..] = head;
    // The first version wrote its JSON right behind one length.
    if rest == *b"{\"v\"" {
        return Err(FrameFault::First);
    }
    let size = |bytes| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    let (length, message) = (size([a, b, c, d]), size(rest));
    match length.checked_sub(message).and_then(|it| it.checked_sub(4)) {
        Some(payload) if message <= MESSAGE_BYTES_MAX && payload <= PAYLOAD_BYTES_MAX => Ok((message, payload)),
        _ => Err(FrameFault::Length { length, message }),
    }
}

/// The message in the JSON of a frame.
pub fn decode(json: &[u8]) -> Result<Message, FrameFault> {
    Ok(serde_json::from_slice(json)?)
}
