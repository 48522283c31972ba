//! Server-sent events looked through while they pass.
//!
//! A text comes in pieces, one in each event, and what a rule looks for may be cut anywhere. So an event waits until it is
//! certain that nothing that begins in it can still become a match; then its piece goes on, without what was found. Of
//! events that wait the order is kept. Where no rule enforces anything nothing waits.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::escapes;
use super::walk::{self, Leaf};
use super::whole::Judged;
use super::{Action, Find, Found, Part, masks};
use crate::json;
use crate::llm::Edits;

/// Longest event.
pub(super) const EVENT_BYTES_MAX: usize = 1 << 20;
/// Most that waits.
pub(super) const WAITING_BYTES_MAX: usize = 1 << 20;
/// Texts of one stream that are under way at once.
const CHANNELS_MAX: usize = 1024;
/// Text that is kept behind what has passed: rules look at what is around a match.
const CONTEXT_BYTES: usize = 64;

/// What OpenAI ends its streams with.
pub(super) const DONE: &[u8] = b"[DONE]";

/// Why nothing more of a stream may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A rule found what it refuses.
    Rule(usize),
    /// It cannot be looked through.
    Unreadable(&'static str),
}

/// A stream under way.
#[derive(Debug, Default)]
pub struct Stream {
    /// The beginning of an event.
    begun: BytesMut,
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    channels: HashMap<u64, Channel>,
    /// Rules that found something, once for each time.
    pub found: Vec<usize>,
}

#[derive(Debug)]
struct Event {
    bytes: Bytes,
    pieces: Vec<Piece>,
    edits: Edits,
}

/// A piece of a text.
#[derive(Debug)]
struct Piece {
    channel: u64,
    /// In the text.
    at: Range<u64>,
    /// Its string in the event.
    place: Range<usize>,
    text: String,
}

/// A text under way.
#[derive(Debug)]
struct Channel {
    part: Part,
    /// What is looked at still, which begins at `base` of the whole.
    text: String,
    base: u64,
    /// Up to here it is decided.
    settled: u64,
    masks: Vec<(Range<u64>, Arc<str>)>,
}

impl Stream {
    /// Takes a piece of the stream, cut anywhere, and gives what may pass.
    pub fn push(&mut self, piece: &[u8], rules: &dyn Find) -> Result<Bytes, Refused> {
        self.begun.extend_from_slice(piece);
        while let Some(end) = event_end(&self.begun) {
            let event = self.begun.split_to(end).freeze();
            self.event(event, rules)?;
        }
        if self.begun.len() > EVENT_BYTES_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            return Err(Refused::Unreadable("an event is too long"));
        }
        Ok(self.release(rules.enforces()))
    }

    /// The stream is over: what waits is decided.
    pub fn finish(&mut self, rules: &dyn Find) -> Result<Bytes, Refused> {
        let rest = self.begun.split().freeze();
        if !rest.is_empty() {
            self.event(rest, rules)?;
        }
        let mut channels = std::mem::take(&mut self.channels);
        let judged = channels.values_mut().try_for_each(|it| self.settle(it, rules, true));
        self.channels = channels;
        judged?;
        Ok(self.release(false))
    }

    fn event(&mut self, bytes: Bytes, rules: &dyn Find) -> Result<(), Refused> {
        let bytes = one_line(bytes);
        let mut event = Event { bytes: bytes.clone(), pieces: Vec::new(), edits: Edits::default() };
        self.waiting_bytes += bytes.len();
        let data = data_of(&bytes).filter(|it| bytes.get(it.clone()).is_some_and(|it| !it.is_empty() && it != DONE));
        if let Some(at) = data {
            let document = bytes.get(at.clone()).unwrap_or_default();
            let document = json::parse(document).map_err(|_| Refused::Unreadable("an event is not JSON"))?;
            let mut leaves = Vec::new();
            walk::answer(document, &mut |leaf| leaves.push(leaf));
            let mut judged = Judged::default();
            for leaf in &leaves {
                match leaf.channel {
                    Some(channel) => self.piece(channel, leaf, at.start, &mut event, rules)?,
                    None => judged.leaf(leaf, rules),
                }
            }
            self.found.append(&mut judged.found);
            if let Some(rule) = judged.refused {
                return Err(Refused::Rule(rule));
            }
            event.edits.append_moved(judged.edits, at.start);
        }
        self.waiting.push_back(event);
        Ok(())
    }

    fn piece(
        &mut self,
        id: u64,
        leaf: &Leaf<'_>,
        offset: usize,
        event: &mut Event,
        rules: &dyn Find,
    ) -> Result<(), Refused> {
        let Some(text) = leaf.value.as_str().filter(|it| !it.is_empty()) else { return Ok(()) };
        let held = self.channels.remove(&id);
        if held.is_none() && self.channels.len() >= CHANNELS_MAX {
            return Err(Refused::Unreadable("a stream has too many texts"));
        }
        let new = || Channel { part: leaf.part, text: String::new(), base: 0, settled: 0, masks: Vec::new() };
        let mut channel = held.unwrap_or_else(new);
        let start = channel.end();
        channel.text.push_str(&text);
        let place = leaf.value.range();
        let place = place.start + offset..place.end + offset;
        event.pieces.push(Piece { channel: id, at: start..channel.end(), place, text: text.into_owned() });
        let settled = self.settle(&mut channel, rules, false);
        self.channels.insert(id, channel);
        settled
    }

    /// Decides of a text what can be decided.
    fn settle(&mut self, channel: &mut Channel, rules: &dyn Find, over: bool) -> Result<(), Refused> {
        let from = channel.inside(channel.settled);
        let length = channel.text.len();
        let (found, settled, open) = channel.look(rules, from, over);
        let mut to = if over { length } else { settled.clamp(from, length) };
        if !over {
            // A match that reaches the end may grow, and one that is cut here is not decided.
            let grows = found.iter().filter(|it| it.range.end > from && (it.range.end >= open || it.range.end > to));
            to = grows.map(|it| it.range.start).fold(to, usize::min).max(from);
        }
        let decided: Vec<Found> =
            found.into_iter().filter(|it| it.range.end > from && (it.range.start < to || over)).collect();
        self.found.extend(decided.iter().map(|it| it.rule));
        if let Some(it) = decided.iter().find(|it| it.action == Action::Reject) {
            return Err(Refused::Rule(it.rule));
        }
        let base = channel.base;
        // What has passed has passed.
        let of_whole = |it: Range<usize>| base + it.start.max(from) as u64..base + it.end as u64;
        channel.masks.extend(masks(&decided).into_iter().map(|(range, with)| (of_whole(range), with)));
        channel.settled = base + to as u64;
        channel.forget(to);
        Ok(())
    }

    fn release(&mut self, waits: bool) -> Bytes {
        let mut out = BytesMut::new();
        while let Some(event) = self.waiting.front() {
            let settled =
                |it: &Piece| self.channels.get(&it.channel).is_none_or(|channel| it.at.end <= channel.settled);
            if waits && !event.pieces.iter().all(settled) {
                break;
            }
            let Some(event) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= event.bytes.len().min(self.waiting_bytes);
            self.write(event, &mut out);
        }
        out.freeze()
    }

    fn write(&mut self, event: Event, out: &mut BytesMut) {
        let Event { bytes, pieces, mut edits } = event;
        for Piece { channel, at, place, text } in pieces {
            let Some(channel) = self.channels.get_mut(&channel) else { continue };
            if let Some(text) = channel.masked(&at, &text) {
                edits.replace(place, json::quoted(&text));
            }
            channel.masks.retain(|(range, _)| range.end > at.end);
        }
        match edits.is_empty() {
            true => out.extend_from_slice(&bytes),
            false => edits.apply(&bytes).iter().for_each(|it| out.extend_from_slice(it)),
        }
    }
}

impl Channel {
    fn end(&self) -> u64 {
        self.base + self.text.len() as u64
    }

    /// What rules find, up to where that is settled, and where an escape may go on behind the end.
    fn look(&self, rules: &dyn Find, from: usize, over: bool) -> (Vec<Found>, usize, usize) {
        let mut found = rules.find(self.part, &self.text);
        let mut settled = if over { self.text.len() } else { rules.settled(&self.text, from) };
        let mut open = self.text.len();
        // What tools are called with is JSON, which somebody will read.
        let views = if self.part == Part::ToolInput { escapes::views(&self.text, over) } else { Vec::new() };
        for view in views {
            for mut it in rules.find(self.part, &view.text) {
                it.range = view.written(&it.range);
                if !found.contains(&it) {
                    found.push(it);
                }
            }
            if !over {
                let place = rules.settled(&view.text, view.read_at(from));
                settled = settled.min(view.written(&(place..place)).start);
            }
            open = open.min(view.open);
        }
        (found, settled.min(open), open)
    }

    /// A place of the whole in what is looked at still.
    fn inside(&self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.text.len())
    }

    /// Lets go of what is decided, but for a little.
    fn forget(&mut self, to: usize) {
        let mut cut = to.saturating_sub(CONTEXT_BYTES);
        while !self.text.is_char_boundary(cut) {
            cut -= 1;
        }
        // Not for every few bytes: the rest is moved.
        if cut >= 4 * CONTEXT_BYTES {
            self.text.drain(..cut);
            self.base += cut as u64;
        }
    }

    /// A piece without what is masked in it; nothing where nothing is. A mask stands where its match begins.
    fn masked(&self, at: &Range<u64>, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut done = 0;
        let mut any = false;
        for (range, with) in self.masks.iter().filter(|(range, _)| range.start < at.end && range.end > at.start) {
            any = true;
            let inside = |it: u64| usize::try_from(it.clamp(at.start, at.end) - at.start).unwrap_or(text.len());
            out.push_str(text.get(done..inside(range.start)).unwrap_or_default());
            if range.start >= at.start {
                out.push_str(with);
            }
            done = inside(range.end);
        }
        out.push_str(text.get(done..).unwrap_or_default());
        any.then_some(out)
    }
}

/// Behind the first empty line.
pub(super) fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes.get(from..).and_then(|rest| memchr::memchr2(b'\n', b'\r', rest)) {
        let at = from + found;
        let next = match bytes.get(at..)? {
            [b'\r', b'\n', ..] => at + 2,
            // Whether a `\n` follows is not known yet.
            [b'\r'] => return None,
            _ => at + 1,
        };
        match bytes.get(next..)? {
            [b'\r', b'\n', ..] => return Some(next + 2),
            [b'\r'] => return None,
            [b'\r' | b'\n', ..] => return Some(next + 1),
            _ => from = next,
        }
    }
    None
}

/// Where the data of an event of one line of data is.
pub(super) fn data_of(event: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    for line in event.split_inclusive(|it| matches!(it, b'\n' | b'\r')) {
        let start = at;
        at += line.len();
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let blank = value.iter().take_while(|it| **it == b' ').count();
        let end = line.iter().rposition(|it| !matches!(it, b'\n' | b'\r' | b' ')).map_or(0, |it| it + 1);
        return Some(start + b"data:".len() + blank..start + end.max(b"data:".len() + blank));
    }
    None
}

/// An event whose data is in several lines, with the data in one: line ends between values are blanks.
pub(super) fn one_line(event: Bytes) -> Bytes {
    let lines = || event.split(|it| matches!(it, b'\n' | b'\r')).filter(|it| !it.is_empty());
    let bom = event.strip_prefix("\u{feff}".as_bytes()).is_some();
    if !bom && lines().filter(|it| it.starts_with(b"data:")).count() <= 1 {
        return event;
    }
    let (mut data, mut rest) = (Vec::new(), Vec::new());
    for line in lines() {
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        match line.strip_prefix(b"data:") {
            Some(more) => {
                data.push(b' ');
                data.extend_from_slice(more);
            }
            None => {
                rest.extend_from_slice(line);
                rest.push(b'\n');
            }
        }
    }
    [&rest, &b"data:"[..], &data, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests;
