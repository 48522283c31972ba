//! A stream of AWS's frames looked through while it passes: conversations of Bedrock. A frame that is changed is written
//! anew, with its own headers and the checksums of what it is now; others go on as they came.

use bytes::{Bytes, BytesMut};

use super::super::frames::{Frames, rewrite};
use super::{Find, Messages, Refused};

/// Longest frame.
const FRAME_BYTES_MAX: usize = 1 << 20;

const GARBLED: Refused = Refused::Unreadable("what came is no frame, or one that is too long");

/// A stream under way.
#[derive(Debug)]
pub struct FrameStream {
    frames: Frames,
    messages: Messages<Tag>,
}

/// A frame as it came, and how long its headers are.
#[derive(Debug)]
struct Tag {
    whole: Bytes,
    headers: usize,
}

impl Default for FrameStream {
    fn default() -> Self {
        Self { frames: Frames::new(FRAME_BYTES_MAX), messages: Messages::default() }
    }
}

impl FrameStream {
    /// Takes a piece of the stream, cut anywhere, and gives what may pass.
    pub fn push(&mut self, piece: &[u8], rules: &dyn Find) -> Result<Bytes, Refused> {
        let (mut passed, mut refused) = (Vec::new(), None);
        let messages = &mut self.messages;
        let pushed = self.frames.push(piece, &mut |frame| {
            if refused.is_some() {
                return;
            }
            let tag = Tag { whole: Bytes::copy_from_slice(frame.whole), headers: frame.headers.len() };
            let judged = match frame.is_exception || frame.payload.is_empty() {
                true => messages.pass(tag, Bytes::copy_from_slice(frame.payload), rules, &mut passed),
                false => messages.push(tag, frame.payload, rules, &mut passed),
            };
            refused = judged.err();
        });
        match (refused, pushed) {
            (Some(refused), _) => Err(refused),
            (None, Err(_)) => Err(GARBLED),
            (None, Ok(())) => Ok(written(passed)),
        }
    }

    /// The stream is over: what waits is decided.
    pub fn finish(&mut self, rules: &dyn Find) -> Result<Bytes, Refused> {
        if self.frames.is_cut() {
            return Err(GARBLED);
        }
        let mut passed = Vec::new();
        self.messages.finish(rules, &mut passed)?;
        Ok(written(passed))
    }

    /// Rules that found something, once for each time, since this was asked last.
    pub fn found(&mut self) -> Vec<usize> {
        self.messages.found()
    }
}

fn written(passed: Vec<(Tag, Bytes)>) -> Bytes {
    let mut out = BytesMut::new();
    for (Tag { whole, headers }, payload) in passed {
        rewrite(&whole, headers, &payload, &mut out);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::guard::words::Words;
    use crate::llm::write_frame;

    fn frame(kind: &str, payload: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, kind, false, |out| out.extend_from_slice(payload.to_string().as_bytes()));
        out
    }

    fn delta(text: &str) -> Vec<u8> {
        frame("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": text}}))
    }

    fn read(stream: &[u8]) -> Vec<(String, Value)> {
        let (mut frames, mut out) = (Frames::new(FRAME_BYTES_MAX), Vec::new());
        let told = &mut |it: crate::llm::frames::Frame<'_>| {
            out.push((it.kind.to_owned(), serde_json::from_slice(it.payload).expect("JSON")));
        };
        frames.push(stream, told).expect("frames with the checksums of what is in them");
        out
    }

    #[test]
    fn what_is_not_changed_is_the_same_frames_and_what_is_has_checksums_of_its_own() {
        let mut stream = FrameStream::default();
        let start = frame("messageStart", &json!({"role": "assistant"}));
        assert_eq!(stream.push(&start, &Words(0)).unwrap(), start);
        let hello = delta("a long enough hello");
        assert_eq!(stream.push(&hello, &Words(0)).unwrap(), "", "it may become a match");
        let stop = frame("contentBlockStop", &json!({"contentBlockIndex": 0}));
        let more = stream.push(&[delta(" my sec"), delta("ret"), stop].concat(), &Words(0)).unwrap();
        let rest = [more, stream.finish(&Words(0)).unwrap()].concat();
        let text: String = read(&rest).iter().filter_map(|it| it.1["delta"]["text"].as_str()).collect();
        assert_eq!(text, "a long enough hello my ***");
        assert_eq!(stream.found(), [0]);
    }

    #[test]
    fn what_is_refused_or_no_frame_goes_no_further() {
        let mut stream = FrameStream::default();
        let sent = [delta("for"), delta("bidden"), delta(" fruit is too much")].concat();
        assert_eq!(stream.push(&sent, &Words(0)), Err(Refused::Rule(0)));
        for garbage in [&[0xff; 64][..], &delta("x")[..20]] {
            let mut stream = FrameStream::default();
            let pushed = stream.push(garbage, &Words(0));
            assert_eq!(pushed.and_then(|_| stream.finish(&Words(0))), Err(GARBLED));
        }
    }

    proptest! {
        #[test]
        fn masked_texts_are_the_same_wherever_the_stream_is_cut(
            cuts in prop::collection::vec(1_usize..12, 1..12), bytes in 1_usize..90
        ) {
            let text = "one secret, and a secretsecret more; no secre";
            let (mut sent, mut rest) = (Vec::new(), text);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                sent.extend(delta(piece));
                rest = after;
            }
            sent.extend(delta(rest));
            let (mut stream, mut out) = (FrameStream::default(), Vec::new());
            for piece in sent.chunks(bytes) {
                out.extend_from_slice(&stream.push(piece, &Words(0)).unwrap());
            }
            out.extend_from_slice(&stream.finish(&Words(0)).unwrap());
            let said: String = read(&out).iter().filter_map(|it| it.1["delta"]["text"].as_str()).collect();
            prop_assert_eq!(said, "one ***, and a ****** more; no secre");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = FrameStream::default().push(&bytes, &Words(0));
        }
    }
}
