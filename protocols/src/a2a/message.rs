//! What is learnt of a message while it is looked through.

use super::shape;

/// Longest text that is kept of what messages say of themselves.
pub const TEXT_BYTES_MAX: usize = 256;

/// See the file. Of several things of a kind the outermost stands, and of those the first; of a stream, the last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `task`, `message`, `status-update`, `artifact-update`.
    pub kind: Option<&'static str>,
    pub task: Option<String>,
    pub context: Option<String>,
    pub message: Option<String>,
    pub state: Option<&'static str>,
    /// As the message's metadata name it.
    pub skill: Option<String>,
    /// Of a JSON-RPC error.
    pub error_code: Option<i64>,
    /// How deep what is here was found.
    pub depth: [Option<usize>; 4],
}

/// What is noted by its depth.
#[derive(Clone, Copy)]
pub(super) enum Note {
    Task = 0,
    Context = 1,
    Message = 2,
    State = 3,
}

impl Seen {
    pub(super) fn note(&mut self, note: Note, depth: usize, text: &str) {
        let Some(held) = self.depth.get_mut(note as usize) else { return };
        if held.is_some_and(|held| held <= depth) || text.is_empty() {
            return;
        }
        *held = Some(depth);
        let kept = || text.chars().take(TEXT_BYTES_MAX).collect();
        match note {
            Note::Task => self.task = Some(kept()),
            Note::Context => self.context = Some(kept()),
            Note::Message => self.message = Some(kept()),
            Note::State => self.state = shape::state(text),
        }
    }

    pub(super) fn note_skill(&mut self, text: &str) {
        if self.skill.is_none() && !text.is_empty() {
            self.skill = Some(text.chars().take(TEXT_BYTES_MAX).collect());
        }
    }

    /// Takes in what a later event says.
    pub fn merge(&mut self, later: Self) {
        let Self { kind, task, context, message, state, skill, error_code, depth: _ } = later;
        self.kind = kind.or(self.kind);
        self.task = task.or_else(|| self.task.take());
        self.context = context.or_else(|| self.context.take());
        self.message = message.or_else(|| self.message.take());
        self.state = state.or(self.state);
        self.skill = skill.or_else(|| self.skill.take());
        self.error_code = error_code.or(self.error_code);
    }
}
