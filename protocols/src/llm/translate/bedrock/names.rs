//! Names of tools as this dialect allows them, and back.

use super::super::model::Chat;
use super::super::write::Text;

/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// Names that are other ones there: what the client says, and what the provider is told.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Names(Vec<(Text<'static>, Text<'static>)>);

impl Names {
    /// Of the tools of a request; names in its history that are no tool's come after them.
    pub(in super::super) fn of(chat: &Chat<'_>) -> Self {
        let mut all = Self::default();
        let plain = |it: &Text<'_>| is_plain(&it.read());
        let taken: Vec<_> = chat.tools.iter().map(|it| &it.name).filter(|it| plain(it)).collect();
        for name in chat.tools.iter().map(|it| &it.name).chain(chat.called()) {
            if plain(name) || all.0.iter().any(|(own, _)| own == name) {
                continue;
            }
            let mut told = replaced(&name.read());
            let mut number = 1;
            while taken.iter().any(|it| it.is(&told)) || all.0.iter().any(|(_, it)| it.is(&told)) {
                number += 1;
                told = format!("{}-{number}", told.chars().take(NAME_BYTES_MAX - 8).collect::<String>());
            }
            all.0.push((name.clone().into_owned(), Text::plain(&told)));
        }
        all
    }

    pub(super) fn told<'a>(&self, name: &Text<'a>) -> Text<'a> {
        self.0.iter().find(|(own, _)| own == name).map_or_else(|| name.clone(), |(_, told)| told.clone())
    }

    pub(super) fn own<'a>(&self, told: Text<'a>) -> Text<'a> {
        match self.0.iter().find(|(_, it)| *it == told) {
            Some((own, _)) => own.clone(),
            None => told,
        }
    }
}

fn may(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '_' | '-')
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(may)
}

fn replaced(name: &str) -> String {
    let name: String = name.chars().take(NAME_BYTES_MAX).map(|it| if may(it) { it } else { '_' }).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::super::super::model::Tool;
    use super::*;

    #[test]
    fn names_are_replaced_and_put_back() {
        let long = "x".repeat(80);
        let names = ["look", "a.b", "a_b", "a/b", "\u{e4}", long.as_str()];
        let tool = |name: &&str| Tool {
            name: Text::plain(name),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
        };
        let chat = Chat { tools: names.iter().map(tool).collect(), ..Chat::default() };
        let all = Names::of(&chat);
        let told: Vec<_> = names.iter().map(|it| all.told(&Text::plain(it)).read().into_owned()).collect();
        assert_eq!(told[..5], ["look", "a_b-2", "a_b", "a_b-2-3", "_"]);
        assert!(told.iter().all(|it| is_plain(it)), "{told:?}");
        for (name, told) in names.iter().zip(&told) {
            assert!(all.own(Text::plain(told)).is(name), "{name} {told}");
        }
    }
}
