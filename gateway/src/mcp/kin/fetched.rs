//! A call that has waited in another process and goes on there: what its server says comes from that process, and what is
//! for its server goes there, for that is where the session with the server is.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocols::mcp::{Message, Shape};
use protocols::sse::Event;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::super::Mcp;
use super::super::events::Events;
use super::super::modern::parked::{Call, Going};
use super::wire::{Ask, Flow, Reply, Said, Wanted};

/// Events on their way.
const WAITING_MAX: usize = 64;

/// The asking side.
pub(super) fn events(mut flow: Flow<UnixStream>) -> Events {
    let (sender, coming) = mpsc::channel(WAITING_MAX);
    let (out, mut told) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                biased;
                heard = flow.hear::<Reply>() => heard,
                Some(message) = told.recv() => {
                    let told = String::from_utf8_lossy(&message).into_owned();
                    if flow.say(&Ask::Brought { told }).await.is_err() {
                        return;
                    }
                    continue;
                }
                // The owner cancels it when this conversation ends.
                () = sender.closed() => return,
            };
            let Ok(Some(Reply::Event { event, .. })) = heard else { return };
            let event = Event { event: event.kind, id: None, retry: event.retry, data: event.data.into() };
            if sender.send(event).await.is_err() {
                return;
            }
        }
    });
    Events::Elder { coming, out }
}

/// The owner's side: the call goes on for as long as it is heard there.
pub(super) async fn pass(
    mcp: &Arc<Mcp>,
    mut flow: Flow<UnixStream>,
    (wanted, brought): (Wanted, Option<String>),
) -> io::Result<()> {
    let mut call = match mcp.parked.go_on(&wanted, brought).await {
        Ok(Going::Call(call)) => call,
        Ok(Going::Again(sent, message)) => {
            let again = Some(String::from_utf8_lossy(&message).into_owned());
            return flow.say(&Reply::Fetched { sent, again }).await;
        }
        Err(fault) => {
            tracing::debug!(error = %fault, "a call that waits does not go on");
            return flow.say(&Reply::Unknown).await;
        }
    };
    if let Err(error) = flow.say(&Reply::Fetched { sent: call.sent().to_owned(), again: None }).await {
        call.cancel();
        return Err(error);
    }
    match events_of(&mut call, &mut flow).await {
        Ok(true) => {
            call.finish();
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) => {
            call.cancel();
            Err(error)
        }
    }
}

/// Whether the answer has come.
async fn events_of(call: &mut Call, flow: &mut Flow<UnixStream>) -> io::Result<bool> {
    loop {
        let coming = tokio::select! {
            biased;
            asked = flow.hear::<Ask>() => match asked? {
                Some(Ask::Brought { told }) => {
                    // What the server makes of it comes in its stream.
                    let _ = call.tell(told.into()).await;
                    continue;
                }
                Some(_) => continue,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
            coming = call.events.next() => coming,
        };
        let Ok(Some(event)) = coming else { return Ok(false) };
        let parsed = Message::parse(&event.data).ok();
        let is_last = parsed.is_some_and(|it| it.shape() == Shape::Response && it.answers(call.sent()));
        let data = String::from_utf8_lossy(&event.data).into_owned();
        let event = Said { kind: event.event, retry: event.retry, data };
        flow.say(&Reply::Event { event, from: None, last: None, is_last }).await?;
        if is_last {
            return Ok(true);
        }
    }
}
