//! The control plane's last good word on disk: it serves at a start at which the control plane is away.
//!
//! One file, mode 0600, in a private directory, replaced as a whole. A digest over everything tells a damaged file; the
//! first line says which control plane, gateway and format it is of. What holds a secret is encrypted where there is a
//! key (`config.stateKey`); else the secret is left out, and the object closed: see `xds::codec::stand_in`. A file that
//! is not as it should be is told and ignored: the gateway then waits for its control plane.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use filters::Change;
use serde::{Deserialize, Serialize};
use xds::client::Versions;
use xds::codec;

use super::record::{Form, Held, Record, label};
use crate::admin::redact;
use crate::life::place;
use crate::random;
use crate::state::Remote;
use crate::statics::Statics;
use crate::telemetry::Sensitive;

/// Largest file written or read.
const STATE_BYTES_MAX: u64 = 1 << 30;
/// Longest first line.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Written out when this much has come together.
const CHUNK_BYTES: usize = 1 << 20;
const MAGIC: &str = "agentgateway-xds-state";
/// Another one is ignored.
const FORMAT: u32 = 1;
const STARS: &str = "***";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    magic: String,
    format: u32,
    /// Control plane and gateway.
    identity: String,
    /// Unix time in milliseconds.
    saved_at: u64,
}

/// The file, and what it takes to write it.
pub(super) struct Store {
    path: PathBuf,
    identity: String,
    key: Option<RandomizedNonceKey>,
    sensitive: Sensitive,
}

/// A file as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved {
    pub(super) bytes: u64,
    pub(super) at: SystemTime,
    /// Resources without their secrets.
    pub(super) left_out: usize,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Place(#[from] place::PlaceFault),
    #[error("more than {STATE_BYTES_MAX} bytes")]
    Size,
    #[error("it cannot be encrypted")]
    Seal,
    #[error("it belongs to user {0}")]
    Foreign(u32),
    #[error("others can read or write it")]
    NotPrivate,
    #[error("it is damaged")]
    Damaged,
    #[error("it is of format {0}, this version knows {FORMAT}")]
    Format(u32),
    #[error("it is of `{0}`")]
    Identity(String),
    #[error("it was encrypted with another key")]
    Key,
}

impl Store {
    /// Where the settings say, if anywhere.
    pub(super) fn of(statics: &Statics, identity: String) -> Option<Self> {
        let directory = statics.state_directory.as_ref()?;
        let path = directory.join(format!("xds-{:016x}.state", random::affinity_key(identity.as_bytes())));
        let key = statics.state_key.as_ref();
        let key = key.and_then(|it| RandomizedNonceKey::new(&AES_256_GCM, it.expose()).ok());
        Some(Self { path, identity, key, sensitive: Sensitive::new(statics) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything anew, beside the file, and moves it over.
    pub(super) fn save(&self, remote: &Remote, known: &Versions) -> Result<Saved, Fault> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        place::private(directory)?;
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        // Left by a process of this number that did not get to its end.
        let _ = std::fs::remove_file(&aside);
        let written = self.write(&aside, remote, known).and_then(|saved| {
            let failed = |source| Fault::Io { path: self.path.clone(), source };
            std::fs::rename(&aside, &self.path).map_err(failed)?;
            // So that the new name outlives a power cut.
            File::open(directory).and_then(|it| it.sync_all()).map_err(failed)?;
            Ok(saved)
        });
        written.inspect_err(|_| drop(std::fs::remove_file(&aside)))
    }

    fn write(&self, path: &Path, remote: &Remote, known: &Versions) -> Result<Saved, Fault> {
        let failed = |source| Fault::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        let at = SystemTime::now();
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = Head {
            magic: MAGIC.to_owned(),
            format: FORMAT,
            identity: self.identity.clone(),
            saved_at: u64::try_from(since.as_millis()).unwrap_or_default(),
        };
        let mut buffer = serde_json::to_vec(&head).unwrap_or_default();
        buffer.push(b'\n');
        let mut out = Out { file, digest: digest::Context::new(&SHA256), bytes: 0, path };
        let mut left_out = 0;
        for change in remote.changes() {
            left_out += usize::from(!self.put(&change, known, &mut buffer)?);
            if buffer.len() >= CHUNK_BYTES {
                out.put(&buffer)?;
                buffer.clear();
            }
        }
        out.put(&buffer)?;
        let bytes = out.finish()?;
        Ok(Saved { bytes, at, left_out })
    }

    /// Appends a resource; false where its secrets are left out.
    fn put(&self, change: &Change, known: &Versions, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let (name, version) = label(change, known);
        if !is_secretive(change, &self.sensitive) {
            let bytes = codec::encode(change).unwrap_or_default();
            Record { form: Form::Plain, name: &name, version, bytes: &bytes }.write(out);
            return Ok(true);
        }
        if let Some(key) = &self.key {
            let mut bytes = codec::encode(change).unwrap_or_default();
            let seal = key.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut bytes);
            let nonce = seal.map_err(|_| Fault::Seal)?;
            let bytes = [&nonce.as_ref()[..], &bytes].concat();
            Record { form: Form::Sealed, name: &name, version, bytes: &bytes }.write(out);
            return Ok(true);
        }
        if let Some(closed) = codec::stand_in(change)
            && !is_secretive_but_for_its_key(&closed, &self.sensitive)
        {
            let bytes = codec::encode(&closed).unwrap_or_default();
            Record { form: Form::Plain, name: &name, version: "", bytes: &bytes }.write(out);
        }
        Ok(false)
    }

    /// What was held when the file was written, and when that was. `None` where there is no file.
    pub(super) fn load(&self) -> Result<Option<(Held, SystemTime)>, Fault> {
        let file = match OpenOptions::new().read(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| self.failed(source))?,
        };
        let metadata = file.metadata().map_err(|source| self.failed(source))?;
        let uid = rustix::process::getuid().as_raw();
        if metadata.uid() != uid && metadata.uid() != 0 {
            return Err(Fault::Foreign(metadata.uid()));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(Fault::NotPrivate);
        }
        if metadata.len() > STATE_BYTES_MAX {
            return Err(Fault::Size);
        }
        let mut bytes = Vec::new();
        file.take(STATE_BYTES_MAX).read_to_end(&mut bytes).map_err(|source| self.failed(source))?;
        self.read(&bytes).map(Some)
    }

    fn failed(&self, source: io::Error) -> Fault {
        Fault::Io { path: self.path.clone(), source }
    }

    fn read(&self, bytes: &[u8]) -> Result<(Held, SystemTime), Fault> {
        let content = bytes.len().checked_sub(SHA256_OUTPUT_LEN).ok_or(Fault::Damaged)?;
        let (content, sum) = bytes.split_at_checked(content).ok_or(Fault::Damaged)?;
        if digest::digest(&SHA256, content).as_ref() != sum {
            return Err(Fault::Damaged);
        }
        let line = content.iter().take(HEAD_BYTES_MAX).position(|it| *it == b'\n').ok_or(Fault::Damaged)?;
        let (line, rest) = content.split_at_checked(line + 1).ok_or(Fault::Damaged)?;
        let head: Head = serde_json::from_slice(line).map_err(|_| Fault::Damaged)?;
        if head.magic != MAGIC {
            return Err(Fault::Damaged);
        }
        if head.format != FORMAT {
            return Err(Fault::Format(head.format));
        }
        if head.identity != self.identity {
            return Err(Fault::Identity(head.identity));
        }
        let mut held = Held::default();
        let mut rest = rest;
        while !rest.is_empty() {
            let (record, after) = Record::read(rest).ok_or(Fault::Damaged)?;
            rest = after;
            match record.form {
                Form::Plain => held.take(record.name, record.version, record.bytes),
                Form::Sealed => held.take(record.name, record.version, &self.open(&record)?),
            }
        }
        Ok((held, UNIX_EPOCH + Duration::from_millis(head.saved_at)))
    }

    fn open(&self, record: &Record<'_>) -> Result<Vec<u8>, Fault> {
        let key = self.key.as_ref().ok_or(Fault::Key)?;
        let (nonce, sealed) = record.bytes.split_at_checked(NONCE_LEN).ok_or(Fault::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Fault::Damaged)?;
        let mut sealed = sealed.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(record.name.as_bytes()), &mut sealed);
        Ok(opened.map_err(|_| Fault::Key)?.to_vec())
    }
}

/// A file under way, and the digest of what is in it.
struct Out<'a> {
    file: File,
    digest: digest::Context,
    bytes: u64,
    path: &'a Path,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.digest.update(bytes);
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.bytes += bytes.len() as u64;
        if self.bytes > STATE_BYTES_MAX {
            return Err(Fault::Size);
        }
        self.file.write_all(bytes).map_err(|source| Fault::Io { path: self.path.to_owned(), source })
    }

    fn finish(mut self) -> Result<u64, Fault> {
        let sum = self.digest.clone().finish();
        self.append(sum.as_ref())?;
        self.file.sync_all().map_err(|source| Fault::Io { path: self.path.to_owned(), source })?;
        Ok(self.bytes)
    }
}

/// Whether a dump of the object would show stars: it holds a secret, or the value of a sensitive header.
fn is_secretive(change: &Change, sensitive: &Sensitive) -> bool {
    let value = match change {
        // There is no secret in their types.
        Change::Bind(..)
        | Change::TcpRoute(..)
        | Change::RouteGroup(..)
        | Change::Service(..)
        | Change::Workload(..) => return false,
        Change::Route(_, it) => match it {
            Some(it) if it.matches.iter().any(|it| !it.headers.is_empty()) => serde_json::to_value(it),
            _ => return false,
        },
        Change::Listener(_, it) => serde_json::to_value(it),
        Change::Backend(_, it) => serde_json::to_value(it),
        Change::Policy(_, it) => serde_json::to_value(it),
    };
    // What cannot be shown is not known to be harmless.
    value.map_or(true, |mut value| {
        redact(&mut value, sensitive);
        stars(&value)
    })
}

/// A listener's key has been replaced; its type prints as stars all the same.
fn is_secretive_but_for_its_key(change: &Change, sensitive: &Sensitive) -> bool {
    !matches!(change, Change::Listener(..)) && is_secretive(change, sensitive)
}

fn stars(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text == STARS,
        serde_json::Value::Array(list) => list.iter().any(stars),
        serde_json::Value::Object(map) => map.values().any(stars),
        _ => false,
    }
}
