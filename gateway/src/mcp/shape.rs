//! What clients see of tools: those that are approved (`mcpPinning`), under the names and in the length that were chosen
//! (`mcpTools`); and of prompts and templates of resources those that are approved.
//!
//! A list is shaped when it is fetched, and kept so; what depends on the lists of all servers is judged when they are put
//! together, over notes that were taken then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use filters::mcp_pinning::{self, Action, Known};
use filters::mcp_tools::{self, Search};
use filters::{Attachment, Kind, Policy};
use protocols::json::{self, Raw, quoted};
use protocols::mcp::definition::{Definition, hex};
use protocols::mcp::{Edits, List, Naming, screen};

use super::state::{Items, ListKey};
use super::talk::Talk;
use super::{Target, fan};
use crate::proxy::Ctx;
use crate::telemetry::Telemetry;

/// The policies that shape what is listed for an exchange.
pub(super) struct Shaping {
    tools: Option<Arc<Attachment>>,
    pinning: Option<Arc<Attachment>>,
    /// Differs where lists come out differently.
    pub(super) fingerprint: u64,
    telemetry: Arc<Telemetry>,
}

/// What is remembered of a tool for comparing it with those of other servers.
pub(super) struct Note {
    approved: bool,
    hash: [u8; 32],
    skeleton: String,
    mentions: Vec<String>,
}

/// A tool on its way into a list.
pub(super) struct Shaped {
    /// What clients call it, but for the prefix.
    name: String,
    own: String,
    text: String,
    note: Option<Note>,
}

impl Shaping {
    /// `None` where nothing is shaped.
    pub(super) fn of(ctx: &Ctx, telemetry: &Arc<Telemetry>) -> Option<Arc<Self>> {
        let effective = ctx.backend().map(|it| &it.effective).or(ctx.effective())?;
        let (tools, pinning) = (effective.part(Kind::McpTools), effective.part(Kind::McpPinning));
        if tools.is_none() && pinning.is_none() {
            return None;
        }
        let mut it =
            Self { tools: tools.cloned(), pinning: pinning.cloned(), fingerprint: 0, telemetry: telemetry.clone() };
        let pins = it.pinning().map_or(0, |it| it.fingerprint);
        it.fingerprint = it.tools().map_or(1, mcp_tools::Policy::fingerprint) ^ pins.rotate_left(17);
        Some(Arc::new(it))
    }

    /// Whether such a list is another than the server's.
    pub(super) fn shapes(&self, list: List) -> bool {
        list == List::Tools || self.pins(list)
    }

    fn pins(&self, list: List) -> bool {
        self.pinning().is_some_and(|it| it.approvals.pins(list))
    }

    fn tools(&self) -> Option<&mcp_tools::Policy> {
        match &self.tools.as_ref()?.policy {
            Policy::McpTools(policy) => Some(policy),
            _ => None,
        }
    }

    fn pinning(&self) -> Option<&mcp_pinning::Policy> {
        match &self.pinning.as_ref()?.policy {
            Policy::McpPinning(policy) => Some(policy),
            _ => None,
        }
    }

    pub(super) fn search(&self) -> Option<&Search> {
        self.tools()?.search.as_ref()
    }

    /// What a server calls a tool that clients call so, the prefix aside; `None` where it is not there.
    pub(super) fn own<'a>(&'a self, target: &Target, name: &'a str) -> Option<&'a str> {
        match self.tools().and_then(|it| it.shape(&target.name)) {
            Some(shape) => shape.own(name),
            None => Some(name),
        }
    }

    /// What clients call a tool of a server's, the prefix aside.
    pub(super) fn name<'a>(&'a self, target: &Target, own: &'a str) -> Option<&'a str> {
        self.tools().and_then(|it| it.shape(&target.name))?.name(own)
    }

    /// An item as clients see it; `None` where they do not.
    pub(super) fn item(
        &self,
        list: List,
        (naming, target): (Naming, &Target),
        (own, item): (&str, Raw<'_>),
        document: &str,
    ) -> Option<Shaped> {
        if list == List::Tools {
            return self.tool(naming, target, own, item);
        }
        let note = match self.pinning() {
            Some(pinning) => Some(self.judge(pinning, (list, target), own, item)?),
            None => None,
        };
        let text = list.renamed(naming, &target.name, item, document);
        Some(Shaped { name: own.to_owned(), own: own.to_owned(), text, note })
    }

    /// A tool as clients see it; `None` where they do not.
    fn tool(&self, naming: Naming, target: &Target, own: &str, item: Raw<'_>) -> Option<Shaped> {
        let shape = self.tools().and_then(|it| it.shape(&target.name));
        let name = match shape {
            Some(shape) => shape.name(own)?,
            None => own,
        };
        let note = match self.pinning() {
            Some(pinning) => Some(self.judge(pinning, (List::Tools, target), own, item)?),
            None => None,
        };
        let described = shape.and_then(|it| it.describe.get(own)).map(|it| &**it);
        let slimmed = match self.tools() {
            Some(tools) if described.is_some() || !tools.slim.is_nothing() => tools.slim.tool(item, described),
            _ => item.text().to_owned(),
        };
        let renamed = match name == own {
            true => slimmed,
            false => {
                let document = json::parse(slimmed.as_bytes()).ok()?;
                let mut edits = Edits::default();
                edits.replace(document.get("name")?.range(), quoted(name));
                document.edited(edits)
            }
        };
        let document = json::parse(renamed.as_bytes()).ok()?;
        let text = List::Tools.renamed(naming, &target.name, document, &renamed);
        Some(Shaped { name: name.to_owned(), own: own.to_owned(), text, note })
    }

    /// All items of a server, as they are kept.
    pub(super) fn items(&self, list: List, mut shaped: Vec<Shaped>) -> Items {
        if list == List::Tools && self.tools().is_some_and(|it| it.sort) {
            shaped.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut items = Items::default();
        for Shaped { name: _, own, text, note } in shaped {
            items.items.push((own, text));
            items.notes.extend(note);
        }
        items
    }

    fn judge(
        &self,
        pinning: &mcp_pinning::Policy,
        (list, target): (List, &Target),
        own: &str,
        item: Raw<'_>,
    ) -> Option<Note> {
        let definition = Definition::in_list(list, item);
        let known = pinning.approvals.judge(list, (&target.name, own), &definition);
        let approved = known == Known::Approved;
        let mut strictest = Action::Allow;
        let mut found = |finding: &'static str, action: Action| {
            self.tell((list, target), own, &definition.hash, (finding, action));
            strictest = strictest.max(action);
        };
        match known {
            Known::Approved => {}
            Known::Changed => found("changed", pinning.on_change),
            Known::Renamed => found("renamed", pinning.on_new),
            Known::New => found("new", pinning.on_new),
        }
        if !approved && json::parse(definition.text.as_bytes()).ok().and_then(screen::hidden).is_some() {
            found("hidden", pinning.on_suspect);
        }
        let description = item.get("description").and_then(Raw::as_str).unwrap_or_default();
        (strictest < Action::Quarantine).then(|| Note {
            approved,
            hash: definition.hash,
            skeleton: screen::skeleton(own),
            mentions: screen::mentions(&description).into_iter().map(|it| it.into_owned()).collect(),
        })
    }

    /// Once for each definition.
    fn tell(
        &self,
        (list, target): (List, &Target),
        name: &str,
        hash: &[u8; 32],
        (finding, action): (&'static str, Action),
    ) {
        if action == Action::Allow || !target.state.is_news(finding, name, hash) {
            return;
        }
        self.telemetry.mcp_finding(finding, action.as_str());
        tracing::warn!(
            target_name = &*target.name,
            list = list.key(),
            name = %name.escape_debug(),
            finding,
            action = action.as_str(),
            sha256 = hex(hash),
            "a definition is not as approved"
        );
    }

    /// Tools, by position of server and of tool, that are not shown because of other servers' tools.
    pub(super) fn shadowed(
        &self,
        (list, naming): (List, Naming),
        lists: &[(&Target, Option<&Items>)],
    ) -> HashSet<(usize, usize)> {
        let mut hidden = HashSet::new();
        let Some(pinning) = self.pinning().filter(|it| it.on_suspect > Action::Allow) else { return hidden };
        if list == List::Templates {
            return hidden;
        }
        let mut skeletons: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
        let mut names: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, (_, items)) in lists.iter().enumerate() {
            let Some(items) = items else { continue };
            for ((own, _), note) in items.items.iter().zip(&items.notes) {
                skeletons.entry(&note.skeleton).or_default().push((at, note.approved));
                names.entry(own).or_default().push(at);
            }
        }
        let is_named = |at: usize, word: &str| {
            let owners = names.get(word).or_else(|| {
                let (target, own) = word.split_once('_').filter(|_| naming.names)?;
                names
                    .get(own)
                    .filter(|owners| owners.iter().any(|it| lists.get(*it).is_some_and(|it| *it.0.name == *target)))
            });
            owners.is_some_and(|it| !it.contains(&at))
        };
        for (at, (target, items)) in lists.iter().enumerate() {
            let Some(items) = items else { continue };
            for (position, ((own, _), note)) in items.items.iter().zip(&items.notes).enumerate() {
                if note.approved {
                    continue;
                }
                let twins = skeletons.get(&*note.skeleton).into_iter().flatten();
                let shadows =
                    !naming.names && twins.clone().any(|(other, approved)| *other != at && (*approved || *other < at));
                let mentions = note.mentions.iter().any(|word| is_named(at, word));
                for finding in [shadows.then_some("shadows"), mentions.then_some("mentions")].into_iter().flatten() {
                    self.tell((list, target), own, &note.hash, (finding, pinning.on_suspect));
                    if pinning.on_suspect == Action::Quarantine {
                        hidden.insert((at, position));
                    }
                }
            }
        }
        hidden
    }
}

/// Whether a tool or a prompt may be used, as far as approvals go: whether it is in the server's list as clients see it.
pub(super) async fn admits(talk: &Talk, target: &Arc<Target>, (list, own): (List, &str)) -> bool {
    let Some(shaping) = talk.shaping.as_ref().filter(|it| it.pins(list)) else { return true };
    let Ok(items) = fan::items(talk, target, list).await else { return false };
    let Some(position) = items.items.iter().position(|(it, _)| it == own) else { return false };
    let key = ListKey::shaped(list, talk);
    let kept: Vec<Option<Arc<Items>>> = talk
        .federation
        .targets
        .iter()
        .map(|it| if Arc::ptr_eq(it, target) { Some(items.clone()) } else { it.state.last_list(&key) })
        .collect();
    let lists: Vec<_> = talk.federation.targets.iter().map(|it| &**it).zip(kept.iter().map(Option::as_deref)).collect();
    let hidden = shaping.shadowed((list, talk.federation.naming), &lists);
    let at = talk.federation.targets.iter().position(|it| Arc::ptr_eq(it, target));
    at.is_some_and(|at| !hidden.contains(&(at, position)))
}
