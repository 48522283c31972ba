//! Answers that wait until servers of one's own have judged their texts: whole ones as wholes, streams some at a time.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use filters::Effective;
use filters::ai::{GuardOutcome, Guards, Rejection};
use http::header::CONTENT_ENCODING;
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use protocols::llm::guard::{Part, Refused, Windows, said};
use protocols::llm::{Dialect, Edits};

use super::coded::{Coded, length};
use super::guard::{Noted, stream_error};
use super::reply;
use super::webhook::{Asker, Message, Side, Verdict};
use crate::session::{Examine, RESPONSE_REFUSED};

/// Why texts may not pass.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) text: String,
    /// What is answered instead, where that is written.
    pub(super) rejection: Option<Rejection>,
}

impl Refusal {
    fn unavailable() -> Self {
        let text = "what guards this cannot be asked".to_owned();
        Self { status: 503, code: "guard_unavailable", text, rejection: None }
    }

    fn unreadable(why: &str) -> Self {
        Self { status: 502, code: "upstream_error", text: why.to_owned(), rejection: None }
    }
}

/// Asks all servers that guard a side, one after the other: each sees what the ones before it have left. `noted` gets
/// the positions of guards that found something.
pub(super) async fn judged(
    asker: &Asker,
    guards: &Guards,
    side: Side,
    texts: &mut [(Part, Message)],
    noted: &mut Vec<usize>,
) -> std::result::Result<(), Refusal> {
    for (at, guard) in guards.guards.iter().enumerate().filter(|(_, it)| it.webhook.is_some()) {
        let seen: Vec<usize> =
            (0..texts.len()).filter(|it| texts.get(*it).is_some_and(|it| guard.parts.contains(&it.0))).collect();
        let messages: Vec<Message> = seen.iter().filter_map(|it| texts.get(*it)).map(|it| it.1.clone()).collect();
        if messages.is_empty() {
            continue;
        }
        let enforces = guard.outcome == GuardOutcome::Enforce;
        match asker.ask(at, guard, side, &messages).await {
            Verdict::Pass => {}
            Verdict::Become(others) => {
                for (position, other) in seen.into_iter().zip(others) {
                    let Some((_, (_, text))) = texts.get_mut(position).filter(|it| it.1.1 != other) else { continue };
                    noted.push(at);
                    if enforces {
                        *text = other;
                    }
                }
            }
            Verdict::Refused { status, body } => {
                noted.push(at);
                if enforces {
                    let text = body.unwrap_or_else(|| reply::REJECTED_TEXT.to_owned());
                    return Err(Refusal { status, code: reply::REJECTED, text, rejection: guard.rejection.clone() });
                }
            }
            Verdict::Failed(why) => {
                tracing::warn!(%why, "a guard could not be asked, and what it guards is refused");
                return Err(Refusal::unavailable());
            }
        }
    }
    Ok(())
}

/// An answer that waits.
pub(super) struct Examiner {
    pub(super) asker: Asker,
    pub(super) settings: Arc<Effective>,
    pub(super) dialect: Dialect,
    pub(super) noted: Noted,
    pub(super) looking: Looking,
}

/// At what.
pub(super) enum Looking {
    Whole { coded: Coded, bytes_max: usize },
    Stream { windows: Windows, ended: bool },
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&mut self, mut tasks: Vec<HttpTask>) -> Result<Vec<HttpTask>> {
        if let Looking::Whole { coded, bytes_max } = self.looking {
            self.whole(&mut tasks, coded, bytes_max).await?;
            return Ok(tasks);
        }
        let mut out = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task {
                HttpTask::Body(piece, end) => {
                    let passed = self.piece(piece.unwrap_or_default(), end).await;
                    if end || !passed.is_empty() {
                        out.push(HttpTask::Body((!passed.is_empty()).then_some(passed), end));
                    }
                }
                HttpTask::Trailer(_) | HttpTask::Done => {
                    let passed = self.piece(Bytes::new(), true).await;
                    if !passed.is_empty() {
                        out.push(HttpTask::Body(Some(passed), false));
                    }
                    out.push(task);
                }
                other => out.push(other),
            }
        }
        Ok(out)
    }
}

impl Examiner {
    async fn judge(&self, texts: &mut [(Part, Message)]) -> std::result::Result<(), Refusal> {
        let Some(guards) = self.settings.ai().map(|it| &it.response) else { return Ok(()) };
        let mut found = Vec::new();
        let judged = judged(&self.asker, guards, Side::Answer, texts, &mut found).await;
        self.noted.lock().append(&mut found);
        judged
    }

    async fn piece(&mut self, piece: Bytes, end: bool) -> Bytes {
        let Looking::Stream { windows, ended } = &mut self.looking else { return piece };
        if *ended {
            return Bytes::new();
        }
        let pushed = windows.push(&piece).and_then(|()| if end { windows.end() } else { Ok(()) });
        if let Err(refused) = pushed {
            *ended = true;
            let Refused::Unreadable(why) = refused else { return Bytes::new() };
            return self.refusal(&Refusal::unreadable(why));
        }
        let Some(window) = windows.window(end) else { return windows.pass(false, end) };
        let mut texts: Vec<_> = window.iter().map(|it| (Part::Message, ("assistant", it.clone()))).collect();
        let judged = self.judge(&mut texts).await;
        let Looking::Stream { windows, ended } = &mut self.looking else { return Bytes::new() };
        match judged {
            Ok(()) => {
                let others: Vec<String> = texts.into_iter().map(|(_, (_, text))| text).collect();
                if others == window { windows.pass(true, end) } else { windows.replace(&others) }
            }
            Err(refusal) => {
                *ended = true;
                self.refusal(&refusal)
            }
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Bytes {
        stream_error(self.dialect, refusal.status, refusal.code, &refusal.text)
    }

    async fn whole(&self, tasks: &mut [HttpTask], coded: Coded, bytes_max: usize) -> Result<()> {
        let is_body = |it: &HttpTask| matches!(it, HttpTask::Body(Some(_), _));
        let Some(HttpTask::Body(Some(body), _)) = tasks.iter().find(|it| is_body(it)) else { return Ok(()) };
        let plain = coded.undone(body, bytes_max).ok();
        let all = plain.as_ref().and_then(|it| said(it, false).ok());
        let (Some(plain), Some(all)) = (plain, all) else {
            return Err(Error::explain(RESPONSE_REFUSED, "the answer cannot be looked through"));
        };
        let mut texts: Vec<_> = all.iter().map(|it| (it.part, (it.role, it.text.clone()))).collect();
        let judged = self.judge(&mut texts).await;
        let mut head = None;
        for task in tasks.iter_mut() {
            match task {
                HttpTask::Header(it, _) if !it.status.is_informational() => head = Some(it),
                HttpTask::Body(Some(body), _) => {
                    let Some(head) = head.take() else { continue };
                    match &judged {
                        Ok(()) => become_others(head, body, &plain, &all, &texts)?,
                        Err(refusal) => *body = self.refuse(head, refusal)?,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn refuse(&self, head: &mut ResponseHeader, refusal: &Refusal) -> Result<Bytes> {
        let reply = reply::refused(self.dialect, refusal);
        head.set_status(reply.status)?;
        head.remove_header(&CONTENT_ENCODING);
        for (name, value) in reply.headers {
            head.insert_header(name, value)?;
        }
        length(head, &reply.body)?;
        Ok(reply.body)
    }
}

fn become_others(
    head: &mut ResponseHeader,
    body: &mut Bytes,
    plain: &Bytes,
    all: &[protocols::llm::guard::Said],
    texts: &[(Part, Message)],
) -> Result<()> {
    let mut edits = Edits::default();
    for (said, (_, (_, text))) in all.iter().zip(texts) {
        said.becomes(text, &mut edits);
    }
    if edits.is_empty() {
        return Ok(());
    }
    head.remove_header(&CONTENT_ENCODING);
    *body = edits.apply(plain).concat().into();
    length(head, body)
}
