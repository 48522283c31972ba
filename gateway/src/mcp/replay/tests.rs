use bytes::Bytes;

use super::*;

fn track(all: &Replay) -> Track {
    Track {
        number: 1,
        name: Name::default(),
        scope: [0; 32],
        is_call: false,
        continues: OnceLock::new(),
        kept: Mutex::default(),
        all_bytes: all.bytes.clone(),
        slot: Mutex::default(),
        freed: Notify::new(),
        claims: watch::Sender::new(0),
    }
}

fn event(bytes: usize) -> Event {
    Event::message(Bytes::from(vec![b'x'; bytes]))
}

#[test]
fn what_is_kept_has_limits_and_is_given_back() {
    let all = Replay::new(crate::listen::Drain::new().exit());
    let one = track(&all);
    for _ in 0..2 * EVENTS_MAX {
        one.keep(all.owner, event(1), None);
    }
    let kept = one.after(0);
    assert_eq!(kept.len(), EVENTS_MAX);
    let newest = kept.last().and_then(|(it, _)| it.id.as_deref()).and_then(Place::parse).expect("a place");
    assert_eq!((newest.owner, newest.number), (all.owner, 2 * EVENTS_MAX as u64));
    one.keep(all.owner, event(BYTES_MAX / 2), None);
    one.keep(all.owner, event(BYTES_MAX / 2 + 1), None);
    assert_eq!(one.after(0).len(), 1, "two of them are too many");
    one.keep(all.owner, event(2 * BYTES_MAX), None);
    assert_eq!(one.after(0).len(), 1, "a large one is kept alone");
    let other = track(&all);
    all.bytes.fetch_add(ALL_BYTES_MAX, Ordering::Relaxed);
    other.keep(all.owner, event(1), None);
    other.keep(all.owner, event(1), None);
    assert_eq!(other.after(0).len(), 1, "all of them together have a limit as well");
    all.bytes.fetch_sub(ALL_BYTES_MAX, Ordering::Relaxed);
    assert!(one.after(newest.number + 3).is_empty(), "what a client has got is not kept any more");
    drop((one, other));
    assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn an_answer_is_the_last_event() {
    let all = Replay::new(crate::listen::Drain::new().exit());
    let one = track(&all);
    one.keep(all.owner, event(1), None);
    one.keep(all.owner, event(1), None);
    one.kept.lock().ended = true;
    assert_eq!(one.after(0).iter().map(|it| it.1).collect::<Vec<_>>(), [false, true]);
    assert_eq!(one.after(1).len(), 1);
    assert!(one.after(2).is_empty());
}
