//! The side that is asked: what is bound to this process, given to the one that serves now.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use protocols::mcp::resume::{Last, Place};
use protocols::mcp::session::Name;
use protocols::mcp::{Message, Shape};
use protocols::sse::Event;
use tokio::net::{UnixListener, UnixStream};

use super::super::Mcp;
use super::super::feed::Coming;
use super::super::replay::Claim;
use super::wire::{self, Address, Ask, Flow, Reply, Said};
use super::{PATIENCE, fetched};

/// Conversations at once.
const TALKS_MAX: usize = 4096;
/// After a socket that cannot accept.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Where this process is asked, from the first time on that somebody wants to know. Needs a runtime around it.
pub(super) fn listen(mcp: &Arc<Mcp>) -> Option<Address> {
    let mut own = mcp.kin.own.lock();
    if own.is_some() {
        return *own;
    }
    let mut address = Address::default();
    rand::fill(&mut address).ok()?;
    *address.first_chunk_mut()? = mcp.replay.owner.to_be_bytes();
    match wire::bind(&address) {
        Ok(listener) => {
            tokio::spawn(accept(mcp.clone(), listener));
            *own = Some(address);
        }
        Err(error) => tracing::warn!(%error, "a successor cannot ask this process for sessions"),
    }
    *own
}

async fn accept(mcp: Arc<Mcp>, listener: UnixListener) {
    let talks = Arc::new(tokio::sync::Semaphore::new(TALKS_MAX));
    loop {
        let Ok(permit) = talks.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "what a successor asks");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        let mcp = mcp.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if wire::is_ours(&stream)
                && let Err(error) = answer(&mcp, Flow::new(stream)).await
            {
                tracing::debug!(%error, "what a successor asked");
            }
        });
    }
}

async fn answer(mcp: &Arc<Mcp>, mut flow: Flow<UnixStream>) -> io::Result<()> {
    // What is asked for is not lost because it was the last that this process had.
    let _stays = mcp.replay.stay();
    let asked = tokio::time::timeout(PATIENCE, flow.hear::<Ask>()).await;
    let Some(asked) = asked.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(()) };
    let taken = match asked {
        Ask::Hello { address } => {
            mcp.kin.add(address);
            // Some may have ended since they were handed over.
            flow.say(&Reply::Greeted { ended: mcp.sessions.ended() }).await?;
            mcp.kin.greeted.notify_one();
            return Ok(());
        }
        Ask::Ended { name } => {
            mcp.end_here(&name);
            true
        }
        Ask::Told { name, target, body } => told(mcp, &name, target.as_deref(), body.into()).await,
        Ask::Follow { at, name, scope } => return follow(mcp, flow, at, (&name, &scope)).await,
        Ask::Fetch { wanted, brought } => return fetched::pass(mcp, flow, (wanted, brought)).await,
        Ask::Channel { name, scope } => return channel(mcp, flow, name, &scope).await,
        Ask::Heard { .. } | Ask::Brought { .. } | Ask::Say { .. } | Ask::Opened { .. } => false,
    };
    flow.say(&if taken { Reply::Taken } else { Reply::Unknown }).await
}

/// An answer or a cancellation, for what waits here.
async fn told(mcp: &Mcp, name: &Name, target: Option<&str>, body: Bytes) -> bool {
    let Ok(message) = Message::parse(&body) else { return false };
    match message.shape() {
        Shape::Response if mcp.inputs.answered(name, &message) => true,
        Shape::Response => {
            let line = target.and_then(|it| mcp.lines.get(name, &it.into()));
            drop(message);
            match line {
                Some(line) => line.tell(body).await.is_ok(),
                None => false,
            }
        }
        Shape::Notification => {
            let mut taken = mcp.running.cancel(name, &message);
            drop(message);
            for line in mcp.lines.of_session(name) {
                taken |= line.tell(body.clone()).await.is_ok();
            }
            taken
        }
        Shape::Request => false,
    }
}

/// A stream, with all that was kept of it, until it is heard elsewhere.
async fn follow(
    mcp: &Arc<Mcp>,
    mut flow: Flow<UnixStream>,
    at: Option<(u64, u64, u64)>,
    whose: (&Name, &[u8; 32]),
) -> io::Result<()> {
    let replay = &mcp.replay;
    let track = match at {
        Some((owner, track, _)) if owner == replay.owner => replay.find(track, whose),
        Some(_) => None,
        None => replay.unheard(whose),
    };
    let claim = match track {
        Some(track) => replay.claim(&track).await,
        None => None,
    };
    let Some(claim) = claim else { return flow.say(&Reply::Unknown).await };
    let found = Reply::Found { is_call: claim.is_call(), last: claim.last().and_then(|it| it.write()) };
    let mut ready = claim.after(at.map_or(0, |(_, _, number)| number)).into_iter();
    let begun = async {
        flow.say(&found).await?;
        for (event, is_last) in ready.by_ref() {
            flow.say(&said(event, None, is_last)).await?;
        }
        io::Result::Ok(())
    };
    match begun.await {
        Ok(()) => pass(flow, claim).await,
        Err(error) => {
            claim.linger(None);
            Err(error)
        }
    }
}

async fn pass(mut flow: Flow<UnixStream>, mut claim: Claim) -> io::Result<()> {
    loop {
        let passed = tokio::select! {
            biased;
            asked = flow.hear::<Ask>() => match asked {
                Ok(Some(Ask::Heard { target })) => {
                    claim.feed.leave(target.into());
                    Ok(false)
                }
                Ok(Some(_)) => Ok(false),
                Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            },
            () = claim.superseded() => {
                claim.give_up();
                return Ok(());
            }
            coming = claim.feed.next() => match coming {
                Coming::Event { event, last, from } => {
                    let event = claim.keep(event, last);
                    flow.say(&said(event, from, false)).await.map(|()| false)
                }
                Coming::Answer { event, last } => {
                    let event = claim.keep_last(event, last);
                    flow.say(&said(event, None, true)).await.map(|()| true)
                }
                Coming::Left(target) => flow.say(&Reply::Left { target: target.to_string() }).await.map(|()| false),
                // All that was said here has been passed on.
                Coming::End => return Ok(()),
            },
        };
        match passed {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(error) => {
                // The client may ask once more.
                claim.linger(None);
                return Err(error);
            }
        }
    }
}

fn said(event: Event, from: Option<(String, String)>, is_last: bool) -> Reply {
    let last = event.id.as_deref().and_then(Place::parse).and_then(|it| it.last).as_ref().and_then(Last::write);
    let data = String::from_utf8_lossy(&event.data).into_owned();
    Reply::Event { event: Said { kind: event.event, retry: event.retry, data }, from, last, is_last }
}

/// What the client of a stream here is to hear, and the session that it opens.
async fn channel(mcp: &Mcp, mut flow: Flow<UnixStream>, name: Name, scope: &[u8; 32]) -> io::Result<()> {
    let Some(channel) = mcp.channels.get(&name) else { return flow.say(&Reply::Unknown).await };
    let session = channel.held().session().and_then(|it| mcp.sessions.seal(&it, name, scope).ok());
    flow.say(&Reply::Channel { session }).await?;
    loop {
        let asked = tokio::select! {
            asked = flow.hear::<Ask>() => asked?,
            () = channel.gone() => return Ok(()),
        };
        match asked {
            Some(Ask::Say { event }) => {
                if channel.say(Event::message(event.data)).await.is_err() {
                    return Ok(());
                }
            }
            Some(Ask::Opened { session }) => {
                if let Some((_, session)) = mcp.sessions.open(&session, scope) {
                    channel.open(session);
                }
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
