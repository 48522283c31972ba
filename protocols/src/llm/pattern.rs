//! Names of models, as patterns: exact, or with one `*` that stands for anything.

/// A name, or one with something left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Exact(String),
    /// What comes before the `*`, and behind it.
    Open(String, String),
}

impl Pattern {
    /// Reads `name`, `prefix*`, `*suffix`, `pre*suf` or `*`. The error names the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            _ if text.is_empty() => Err("a model needs a name; `*` is any".to_owned()),
            None => Ok(Self::Exact(text.to_owned())),
            Some((_, after)) if after.contains('*') => Err(format!("`{text}`: one `*` at most")),
            Some((before, after)) => Ok(Self::Open(before.to_owned(), after.to_owned())),
        }
    }

    pub fn matches(&self, model: &str) -> bool {
        match self {
            Self::Exact(name) => name == model,
            Self::Open(before, after) => {
                let rest = model.strip_prefix(before.as_str());
                rest.is_some_and(|rest| rest.ends_with(after.as_str()))
            }
        }
    }

    /// More of it counts first: an exact name, then the longer text.
    pub fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(name) => (true, name.len()),
            Self::Open(before, after) => (false, before.len() + after.len()),
        }
    }

    /// The name, where it is one.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Open(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_one_place_open() {
        for (pattern, model, want) in [
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-*", "gpt-5", true),
            ("gpt-*", "gp", false),
            ("*-mini", "gpt-mini", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(model), want, "{pattern} {model}");
        }
        assert!(Pattern::parse("a*b*").is_err() && Pattern::parse("").is_err());
        let of = |text| Pattern::parse(text).unwrap().specificity();
        assert!(of("a") > of("gpt-*") && of("gpt-*") > of("*"));
    }
}
