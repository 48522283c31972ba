//! A call whose answer is a stream: passed on event by event, kept for a client that loses its connection, and gone on
//! with in its absence. To clients of sessions a closed connection is no word of theirs (2025-11-25, transports).

use bytes::Bytes;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::mcp::Version;
use protocols::mcp::resume::Last;
use protocols::sse::Event;

use super::events::Events;
use super::fault::Fault;
use super::feed::{Coming, Feed};
use super::guard::Guards;
use super::modern::running::Run;
use super::modern::seam::Abandon;
use super::modern::{inputs, running};
use super::relay::{Call, Checked, Passed, checked, note, passed};
use super::replay::Claim;
use super::reply::Stream;
use super::talk::Talk;
use super::target::{Answer, Sending};
use super::told::{self, Ended};
use super::{Target, audit};
use crate::proxy::{Ctx, Proxy};

/// How a part of a call's stream ended.
enum End {
    /// With the answer as the client gets it.
    Answered(Ended, Bytes),
    Fault(Fault),
    /// The client goes on with `Last-Event-ID` (2025-11-25, resumability).
    Resumed,
    /// It has done so already, over another connection.
    Claimed,
    /// The server wants something first.
    Asks(Bytes),
}

/// A call whose answer is a stream.
pub(super) struct Going {
    pub(super) answer: Answer,
    pub(super) call: Call,
    pub(super) abandon: Abandon,
    pub(super) run: Option<Run>,
}

/// The stream as it is written.
struct Writing<'a> {
    out: Stream<'a>,
    /// Of clients with sessions: what is said is kept.
    claim: Option<Claim>,
    /// What the server says, as long as it is not at its end.
    events: Option<Events>,
}

impl Writing<'_> {
    async fn event(&mut self, talk: &Talk, target: &Target, event: Event) -> Result<()> {
        let last = event.id.as_ref().map(|id| Last::Call { target: target.name.to_string(), id: id.clone() });
        let event = match &self.claim {
            Some(claim) => claim.keep(event, last),
            None if talk.is_modern() => Event { id: None, ..event },
            None if talk.federation.naming.ids => Event { id: last.and_then(|it| it.write()), ..event },
            None => event,
        };
        self.out.event(&event).await
    }

    /// An answer that came whole.
    async fn whole(
        &mut self,
        (talk, target): (&Talk, &Target),
        checked: std::result::Result<Checked, Fault>,
    ) -> Result<End> {
        Ok(match checked {
            Ok(Checked::Answer(message, ended)) => {
                self.event(talk, target, Event::message(message.clone())).await?;
                End::Answered(ended, message)
            }
            Ok(Checked::Asks(message)) => End::Asks(message),
            Err(fault) => End::Fault(fault),
        })
    }

    fn finish(&mut self) {
        if let Some(events) = self.events.take() {
            events.finish();
        }
    }
}

pub(super) async fn stream(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    going: Going,
) -> Result<()> {
    let Going { answer, mut call, mut abandon, run } = going;
    let kept = !talk.is_modern() && !talk.federation.terms.stateless && ctx.channel.is_none();
    let claim = if kept { talk.mcp.replay.begin(talk, Feed::Ended, true) } else { None };
    let leaving = crate::listen::conn_info(session).map(|it| it.drain.clone());
    let out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    let mut writing = Writing { out, claim, events: None };
    let ended = Box::pin(rounds(&mut writing, talk, &mut call, answer)).await;
    let Writing { mut out, claim, events } = writing;
    let end = match ended {
        Ok(End::Claimed) => {
            if let Some((mut claim, events)) = claim.zip(events) {
                claim.feed = Ongoing::feed(talk, call, events, run);
                claim.give_up();
            }
            return out.end().await;
        }
        Ok(end) => end,
        Err(gone) => {
            if let Some((mut claim, events)) = claim.zip(events) {
                claim.feed = Ongoing::feed(talk, call, events, run);
                claim.linger(leaving);
            }
            return Err(gone);
        }
    };
    match end {
        End::Answered(ended, message) => {
            audit::note(proxy, ctx, &message);
            told::ended(ctx, ended);
            if let Some(claim) = claim {
                claim.answered();
            }
        }
        End::Fault(fault) => {
            note(ctx, &call.target, &fault);
            let text = fault.answer(&call.seam.id, &call.target.name);
            told::ended(ctx, Ended::of_bytes(text.as_bytes()));
            out.event(&Event::message(text)).await?;
        }
        End::Resumed | End::Claimed | End::Asks(_) => {}
    }
    abandon.answered();
    out.end().await
}

/// The call, as often as its server asks for something first.
async fn rounds(writing: &mut Writing<'_>, talk: &Talk, call: &mut Call, mut answer: Answer) -> Result<End> {
    let primes = talk.session.as_ref().is_some_and(|(_, it)| it.version >= Version::V2025_11_25);
    if writing.claim.is_some() && primes {
        // A place to go on from, before there is anything else (2025-11-25, transports).
        writing.event(talk, &call.target, Event::default()).await?;
    }
    let mut rounds = 0;
    loop {
        let end = Box::pin(part(writing, talk, call, answer)).await?;
        let End::Asks(message) = &end else { return Ok(end) };
        rounds += 1;
        if rounds > inputs::ROUNDS_MAX {
            return Ok(End::Fault(Fault::Broken("it asks and asks".into())));
        }
        let params = match inputs::ask(&mut writing.out, talk, message).await? {
            Ok(params) => params,
            Err(fault) => return Ok(End::Fault(fault)),
        };
        call.seam.again();
        let body = inputs::again(&call.body, &call.seam.sent, &params);
        let again = Sending { body, deadline: None, again: false };
        let sent = running::unless(call.cancelled.as_deref(), call.target.send(talk, again));
        match writing.out.next(Box::pin(sent)).await? {
            Ok(next) => answer = next,
            Err(fault) => return Ok(End::Fault(fault)),
        }
    }
}

/// Passes on what the server says until it has answered.
async fn part(writing: &mut Writing<'_>, talk: &Talk, call: &Call, answer: Answer) -> Result<End> {
    let Call { target, seam, .. } = call;
    match answer {
        Answer::Message(message) => {
            let looked_at = Box::pin(Guards::result_of(call.guards.as_ref(), message, &seam.sent));
            let message = writing.out.next(looked_at).await?;
            return writing.whole((talk, target), checked(talk, target, message, seam)).await;
        }
        Answer::Accepted => return Ok(End::Fault(Fault::Silent)),
        Answer::Stream(events) => writing.events = Some(events),
    }
    let mut resumable = false;
    loop {
        let Writing { out, claim, events } = &mut *writing;
        let Some(coming) = events else { return Ok(End::Fault(Fault::Silent)) };
        let coming = running::unless(call.cancelled.as_deref(), coming.next());
        let next = async {
            tokio::select! {
                biased;
                () = superseded(claim.as_ref()) => None,
                coming = coming => Some(coming),
            }
        };
        let event = match out.next(std::pin::pin!(next)).await? {
            Some(Ok(Some(event))) => event,
            None => return Ok(End::Claimed),
            Some(Ok(None)) if resumable && !seam.modern => return Ok(End::Resumed),
            Some(Ok(None)) => return Ok(End::Fault(Fault::Silent)),
            Some(Err(fault)) => return Ok(End::Fault(fault)),
        };
        resumable |= event.id.is_some();
        let looked_at = Box::pin(Guards::result_of(call.guards.as_ref(), event.data, &seam.sent));
        let event = Event { data: writing.out.next(looked_at).await?, ..event };
        match passed(talk, target, event, seam) {
            Passed::Nothing => {}
            Passed::Event(event) => writing.event(talk, target, event).await?,
            Passed::Asks(message) => {
                writing.finish();
                return Ok(End::Asks(message));
            }
            Passed::Last(event, ended) => {
                let message = event.data.clone();
                writing.event(talk, target, event).await?;
                writing.finish();
                return Ok(End::Answered(ended, message));
            }
            Passed::Park(asked) => {
                let Some(events) = writing.events.take() else { return Ok(End::Fault(Fault::Silent)) };
                let parked = talk.mcp.parked.park(talk, target, (seam, events), asked);
                return writing.whole((talk, target), parked.and_then(|it| checked(talk, target, it, seam))).await;
            }
        }
    }
}

async fn superseded(claim: Option<&Claim>) {
    match claim {
        Some(claim) => claim.superseded().await,
        None => std::future::pending().await,
    }
}

/// A call whose client has gone and may come back.
pub(super) struct Ongoing {
    talk: Talk,
    call: Call,
    events: Events,
    resumable: bool,
    _run: Option<Run>,
}

impl Ongoing {
    fn feed(talk: &Talk, call: Call, events: Events, run: Option<Run>) -> Feed {
        Feed::Call(Box::new(Self { talk: talk.again(), call, events, resumable: false, _run: run }))
    }

    pub(super) async fn next(&mut self) -> Coming {
        let Self { talk, call, events, resumable, _run } = self;
        let Call { target, seam, .. } = &*call;
        let last = |event: &Event| {
            let id = event.id.clone()?;
            Some(Last::Call { target: target.name.to_string(), id })
        };
        loop {
            let event = match running::unless(call.cancelled.as_deref(), events.next()).await {
                Ok(Some(event)) => event,
                // The server is asked for the rest.
                Ok(None) if *resumable => return Coming::End,
                ended => {
                    let fault = ended.err().unwrap_or(Fault::Silent);
                    let event = Event::message(fault.answer(&seam.id, &target.name));
                    return Coming::Answer { event, last: None };
                }
            };
            *resumable |= event.id.is_some();
            let data = Guards::result_of(call.guards.as_ref(), event.data, &seam.sent).await;
            let event = Event { data, ..event };
            match passed(talk, target, event, seam) {
                Passed::Nothing => {}
                Passed::Event(event) => return Coming::Event { last: last(&event), event, from: None },
                Passed::Last(event, _) => return Coming::Answer { last: last(&event), event },
                // The client is not there to be asked.
                Passed::Asks(_) | Passed::Park(_) => return Coming::End,
            }
        }
    }
}
