//! The nearest known name to a mistyped one, for error messages.

/// `; did you mean …?`, or nothing where no name is near.
pub(crate) fn hint<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(text, known) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Beyond a third of its letters another name is not a slip of the finger.
    let limit = (text.len() / 3).max(2);
    let near = known.into_iter().map(|name| (distance(text, name), name)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= limit).map(|(_, name)| name)
}

/// Levenshtein distance over lower-case bytes, of the first 64.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<u8> = right.bytes().take(64).map(|b| b.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.bytes().take(64).map(|b| b.to_ascii_lowercase()).enumerate() {
        let mut corner = line;
        let mut before = line + 1;
        for (r, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let cost = corner + usize::from(l != *r);
            corner = *cell;
            before = cost.min(corner + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_named_and_another_word_is_not() {
        let known = ["request.path", "request.headers", "response.code"];
        assert_eq!(nearest("request.pth", known), Some("request.path"));
        assert_eq!(nearest("respons.code", known), Some("response.code"));
        assert_eq!(nearest("jwt", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
