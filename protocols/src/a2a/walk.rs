//! Messages in JSON: looked through in place.

use super::message::{Note, Seen};
use super::shape::{self, Ask, Place, Shape, What};
use crate::json::{Kind, Raw, quoted};
use crate::mcp::Edits;

/// Members under which metadata name a skill.
const SKILLS: [&str; 3] = ["skillId", "skill_id", "skill"];

/// A message being looked through. `place` is asked about every text of [`Place`], and may give another.
pub struct Walk<'p, F> {
    pub seen: Seen,
    pub edits: Edits,
    place: Ask<'p, F>,
}

impl<'p, F> Walk<'p, F> {
    pub fn new(place: Ask<'p, F>) -> Self {
        Self { seen: Seen::default(), edits: Edits::default(), place }
    }

    /// Looks through a value; a list is one of such values.
    pub fn value(&mut self, value: Raw<'_>, shape: &'static Shape) -> Result<(), F> {
        self.at_depth(value, shape, 0)
    }

    fn at_depth(&mut self, value: Raw<'_>, shape: &'static Shape, depth: usize) -> Result<(), F> {
        match value.kind() {
            Kind::Array => value.elements().try_for_each(|it| match it.kind() {
                Kind::Object => self.at_depth(it, shape, depth + 1),
                _ => Ok(()),
            }),
            Kind::Object => self.object(value, shape, depth),
            _ => Ok(()),
        }
    }

    fn object(&mut self, value: Raw<'_>, mut shape: &'static Shape, depth: usize) -> Result<(), F> {
        if shape.by_kind
            && let Some(kind) = value.get("kind").and_then(Raw::as_str)
            && let Some(flat) = shape::of_kind(&kind)
        {
            shape = flat;
        }
        if depth <= 1
            && let Some(kind) = shape::kind_of(shape)
        {
            self.seen.kind.get_or_insert(kind);
        }
        for (name, member) in value.members() {
            let Some(what) = shape.by_name(&name) else { continue };
            match what {
                What::Into(inner) => self.at_depth(member, inner, depth + 1)?,
                What::At(place) => self.texts(*place, member, depth)?,
                What::State => self.note(Note::State, depth, member),
                What::MessageId => self.note(Note::Message, depth, member),
                What::Metadata => self.metadata(member),
                What::Gone => self.edits.replace(member.range(), "[]"),
            }
        }
        Ok(())
    }

    fn texts(&mut self, place: Place, member: Raw<'_>, depth: usize) -> Result<(), F> {
        match member.kind() {
            Kind::String => self.text(place, member, depth),
            // References to other tasks say nothing of what this is about.
            Kind::Array => member.elements().try_for_each(|it| self.text(place, it, usize::MAX)),
            _ => Ok(()),
        }
    }

    fn text(&mut self, place: Place, member: Raw<'_>, depth: usize) -> Result<(), F> {
        let Some(text) = member.as_str().filter(|it| !it.is_empty()) else { return Ok(()) };
        let replaced = (self.place)(place, &text)?;
        note(&mut self.seen, place, depth, &text);
        if let Some(replaced) = replaced {
            self.edits.replace(member.range(), quoted(&replaced));
        }
        Ok(())
    }

    fn note(&mut self, note: Note, depth: usize, member: Raw<'_>) {
        if let Some(text) = member.as_str() {
            self.seen.note(note, depth, &text);
        }
    }

    fn metadata(&mut self, member: Raw<'_>) {
        let named = SKILLS.iter().find_map(|it| member.get(it)?.as_str());
        if let Some(skill) = named {
            self.seen.note_skill(&skill);
        }
    }
}

/// Notes whose a text is, where it stands for what the whole message is about.
pub(super) fn note(seen: &mut Seen, place: Place, depth: usize, text: &str) {
    if depth == usize::MAX {
        return;
    }
    match place {
        Place::Task => seen.note(Note::Task, depth, text),
        Place::Context => seen.note(Note::Context, depth, text),
        Place::TaskName => seen.note(Note::Task, depth, super::rest::task_of_name(text).unwrap_or_default()),
        Place::PushUrl
        | Place::PushId
        | Place::PushToken
        | Place::PushScheme
        | Place::PushCredentials
        | Place::CardUrl
        | Place::PageToken => {}
    }
}
