//! Reading the Prometheus text format, as far as sums need it.

/// The sum of all samples of this name that carry all these labels.
pub(super) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = text.lines().filter(|it| !it.starts_with('#')).filter_map(sample);
    samples.filter(|it| it.name == name && labels.iter().all(|wanted| it.has(wanted))).map(|it| it.value).sum()
}

struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl Sample<'_> {
    fn has(&self, wanted: &(&str, &str)) -> bool {
        self.labels.iter().any(|it| it.0 == wanted.0 && it.1 == wanted.1)
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label, value));
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// The text up to the closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, it)) = chars.next() {
        match it {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_all_the_labels_are_added() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"q\\\"}\"} 2\na{x=\"1\",y=\"z\"} 3 1700000000\nab{x=\"1\"} 9\na 4\n";
        assert_eq!(sum(text, "a", &[("x", "1")]), 5.0);
        assert_eq!(sum(text, "a", &[("x", "1"), ("y", "q\"}")]), 2.0);
        assert_eq!(sum(text, "a", &[]), 9.0);
        assert_eq!(sum(text, "none", &[]), 0.0);
    }
}
