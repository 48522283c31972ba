//! Several servers asked at once. None waits for another; one that hangs is waited for no longer than it is worth.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::{Edits, List, answer, task};

use super::fault::Fault;
use super::state::{Items, ListKey};
use super::talk::Talk;
use super::target::{ask, result_of};
use super::{STRAGGLER_GRACE, Target, search};

/// Pages of one list that are asked for.
const PAGES_MAX: usize = 64;
/// Items of one list that are taken.
const ITEMS_MAX: usize = 100_000;

/// Ids of what we ask ourselves, in sessions that are clients': unlike any of theirs.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An id that no client and no other request has (JSON), in this process or another one.
pub(super) fn own_id() -> String {
    format!("{OWN_ID}{:x}-{}\"", process_here(), NEXT_ID.fetch_add(1, Ordering::Relaxed))
}

fn process_here() -> u32 {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        let mut bytes = [0; 4];
        // Without randomness there is no TLS either.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        u32::from_be_bytes(bytes)
    })
}

/// How they begin.
const OWN_ID: &str = "\"agw-";

pub(super) fn is_own_id(id: &str) -> bool {
    id.starts_with(OWN_ID)
}

/// Whether it is such an id (JSON), and of another process.
pub(super) fn is_of_another(id: &str) -> bool {
    let process = id.strip_prefix(OWN_ID).and_then(|it| it.split_once('-')).map(|(process, _)| process);
    process.is_some_and(|it| u32::from_str_radix(it, 16).is_ok_and(|it| it != process_here()))
}

/// What each server answered, in their order.
pub(super) type Answers<T> = Vec<(Arc<Target>, Result<T, Fault>)>;

/// Asks all. Where servers may be left out, those that have not answered a while after the first are; else the first
/// fault is the end.
pub(super) async fn all<T, F>(talk: &Talk, asking: impl Fn(Arc<Target>) -> F) -> Answers<T>
where
    F: Future<Output = Result<T, Fault>>,
{
    let federation = &talk.federation;
    let fail_open = federation.terms.fail_open;
    let mut answers: Vec<Option<Result<T, Fault>>> = federation.targets.iter().map(|_| None).collect();
    let mut under_way: FuturesUnordered<_> = federation
        .targets
        .iter()
        .enumerate()
        .map(|(position, target)| {
            let asking = asking(target.clone());
            Box::pin(async move { (position, asking.await) })
        })
        .collect();
    let mut patience = std::pin::pin!(None::<tokio::time::Sleep>);
    loop {
        let next = tokio::select! {
            next = under_way.next() => next,
            () = async { match patience.as_mut().as_pin_mut() { Some(it) => it.await, None => std::future::pending().await } } => None,
        };
        let Some((position, answer)) = next else { break };
        let failed = answer.is_err();
        if let Some(slot) = answers.get_mut(position) {
            *slot = Some(answer);
        }
        if failed && !fail_open {
            break;
        }
        if !failed && fail_open && patience.as_ref().as_pin_ref().is_none() {
            patience.set(Some(tokio::time::sleep(STRAGGLER_GRACE)));
        }
    }
    let late = |target: &Arc<Target>| {
        if fail_open {
            // Else each request would wait for it anew.
            target.failed(talk);
        }
        Err(Fault::Deadline(STRAGGLER_GRACE))
    };
    let answers = federation.targets.iter().zip(answers);
    answers.map(|(target, answer)| (target.clone(), answer.unwrap_or_else(|| late(target)))).collect()
}

/// The first fault that counts: any where none may be left out, all where some may.
pub(super) fn verdict<T>(talk: &Talk, answers: &Answers<T>) -> Option<(Arc<Target>, Fault)> {
    // Others that were not waited for are no cause.
    let cause = |it: &&(Arc<Target>, Result<T, Fault>)| matches!(&it.1, Err(fault) if !is_late(fault));
    let fault = answers.iter().find(cause).or_else(|| answers.iter().find(|it| it.1.is_err()));
    let counts = !talk.federation.terms.fail_open || answers.iter().all(|it| it.1.is_err());
    let (target, Err(fault)) = fault.filter(|_| counts)? else { return None };
    Some((target.clone(), fault.clone()))
}

fn is_late(fault: &Fault) -> bool {
    matches!(fault, Fault::Deadline(after) if *after == STRAGGLER_GRACE)
}

/// A list of a server: kept, or asked for now.
pub(super) async fn items(talk: &Talk, target: &Arc<Target>, list: List) -> Result<Arc<Items>, Fault> {
    let key = ListKey::shaped(list, talk);
    if let Some(items) = target.state.list(&key, Instant::now()) {
        return Ok(items);
    }
    match Box::pin(fetch(talk, target, list)).await {
        Ok(items) => {
            let items = Arc::new(items);
            target.state.keep_list(key, items.clone(), Instant::now());
            Ok(items)
        }
        Err(fault) if talk.federation.terms.fail_open => target.state.last_list(&key).ok_or(fault),
        Err(fault) => Err(fault),
    }
}

async fn fetch(talk: &Talk, target: &Arc<Target>, list: List) -> Result<Items, Fault> {
    let naming = talk.federation.naming;
    let shaping = talk.shaping.as_ref().filter(|it| it.shapes(list));
    let (mut items, mut shaped) = (Items::default(), Vec::new());
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let id = own_id();
        let params = cursor.take().map(|it| format!(r#"{{"cursor":{}}}"#, quoted(&it))).unwrap_or_default();
        let message = match ask(target, talk, &id, answer::request(&id, list.method(), &params)).await {
            Err(Fault::Refused(_, error)) if is_unknown_method(&error) => return Ok(items),
            asked => asked?,
        };
        let result = match result_of(&message, &id) {
            Ok(result) => result,
            // It has no such lists, which is no fault.
            Err(Fault::Error(error)) if is_unknown_method(&error) => return Ok(items),
            Err(fault) => return Err(fault),
        };
        let document = std::str::from_utf8(&message).unwrap_or_default();
        for (name, item) in list.items(result) {
            match shaping {
                Some(shaping) => shaped.extend(shaping.item(list, (naming, target), (&name, item), document)),
                None => {
                    items.items.push((name.into_owned(), list.renamed(naming, &target.name, item, document)));
                }
            }
        }
        cursor = result.get("nextCursor").and_then(Raw::as_str).map(|it| it.into_owned()).filter(|it| !it.is_empty());
        if cursor.is_none() || items.items.len() + shaped.len() > ITEMS_MAX {
            break;
        }
    }
    Ok(match shaping {
        Some(shaping) => shaping.items(list, shaped),
        None => items,
    })
}

fn is_unknown_method(error: &str) -> bool {
    let code = json::parse(error.as_bytes()).ok().and_then(|it| it.get("code").map(|it| it.text() == "-32601"));
    code == Some(true)
}

/// The lists of all servers.
pub(super) async fn lists(talk: &Talk, list: List) -> Result<Answers<Arc<Items>>, (Arc<Target>, Fault)> {
    let answers = all(talk, |target| async move { items(talk, &target, list).await }).await;
    match verdict(talk, &answers) {
        Some(fault) => Err(fault),
        None => Ok(answers),
    }
}

/// Lists as one result, of what may be shown.
pub(super) fn shown(
    talk: &Talk,
    list: List,
    answers: &Answers<Arc<Items>>,
    may: impl Fn(&Target, &str) -> bool,
) -> Bytes {
    let visible = visible(talk, list, answers, may);
    let search = talk.shaping.as_ref().filter(|_| list == List::Tools).and_then(|it| it.search());
    let visible = match search {
        Some(search) => search::list(search, visible.into_iter()),
        None => visible,
    };
    list.result(visible.into_iter()).into()
}

/// What may be shown, in its order.
pub(super) fn visible<'a>(
    talk: &Talk,
    list: List,
    answers: &'a Answers<Arc<Items>>,
    may: impl Fn(&Target, &str) -> bool,
) -> Vec<&'a str> {
    let hidden = match talk.shaping.as_ref().filter(|it| it.shapes(list)) {
        Some(shaping) => {
            let lists: Vec<_> = answers.iter().map(|(target, it)| (&**target, it.as_deref().ok())).collect();
            shaping.shadowed((list, talk.federation.naming), &lists)
        }
        None => HashSet::new(),
    };
    let unique = !talk.federation.naming.names;
    let mut seen = HashSet::new();
    let mut shown = Vec::new();
    for (at, (target, items)) in answers.iter().enumerate() {
        let Ok(items) = items else { continue };
        let items = items.items.iter().enumerate().filter(|(position, (name, _))| {
            // Of two that have one name, the first server's counts, shown or not.
            !hidden.contains(&(at, *position))
                && (!unique || seen.insert(called(talk, list, target, name)))
                && may(target, name)
        });
        shown.extend(items.map(|(_, (_, item))| item.as_str()));
    }
    shown
}

/// What clients call an item of a server's, the prefix aside.
fn called(talk: &Talk, list: List, target: &Target, own: &str) -> String {
    let shaping = talk.shaping.as_ref().filter(|_| list == List::Tools);
    shaping.and_then(|it| it.name(target, own)).unwrap_or(own).to_owned()
}

/// Whose a name without a prefix is: the first server's that lists it.
pub(super) async fn find(talk: &Talk, list_of: List, wanted: &str) -> Option<Arc<Target>> {
    let answers = all(talk, |target| async move { items(talk, &target, list_of).await }).await;
    let has = |target: &Target, items: &Items| {
        items.items.iter().any(|(name, _)| called(talk, list_of, target, name) == wanted)
    };
    answers.into_iter().find(|(target, items)| items.as_ref().is_ok_and(|it| has(target, it))).map(|(it, _)| it)
}

/// Whose a URI is that says nothing of it: the first server's that lists it, or else whose template begins like it.
pub(super) async fn find_uri(talk: &Talk, uri: &str) -> Option<Arc<Target>> {
    if let Some(target) = find(talk, List::Resources, uri).await {
        return Some(target);
    }
    let answers = all(talk, |target| async move { items(talk, &target, List::Templates).await }).await;
    let mut best: Option<(usize, Arc<Target>)> = None;
    for (target, items) in answers {
        let Ok(items) = items else { continue };
        let literals = items.items.iter().filter_map(|(template, _)| template.split('{').next());
        let fits = literals.filter(|it| !it.is_empty() && uri.starts_with(it)).map(str::len).max();
        if let Some(length) = fits.filter(|it| best.as_ref().is_none_or(|(held, _)| held < it)) {
            best = Some((length, target));
        }
    }
    best.map(|(_, target)| target)
}

/// Tasks of all servers (2025-11-25), as the result of their list. A server that cannot say has none.
pub(super) async fn tasks(talk: &Talk) -> String {
    let answers = all(talk, |target| async move {
        let id = own_id();
        let message = ask(&target, talk, &id, answer::request(&id, "tasks/list", "")).await?;
        let result = result_of(&message, &id)?;
        let mut edits = Edits::default();
        task::edit(talk.federation.naming, &target.name, ("tasks/list", result), &mut edits);
        Ok(result.edited(edits))
    });
    let mut items = Vec::new();
    for (_, result) in answers.await {
        let Ok(result) = result else { continue };
        let Ok(result) = json::parse(result.as_bytes()) else { continue };
        items.extend(result.get("tasks").map(Raw::elements).into_iter().flatten().map(|it| it.text().to_owned()));
    }
    format!(r#"{{"tasks":[{}]}}"#, items.join(","))
}
