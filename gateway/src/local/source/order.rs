//! Creation order of items in a list that is edited: labels that stay as they are where the items
//! do, so that inserting one item does not renumber (and so change) all that follow.

use std::collections::HashMap;

use crate::local::doc::Entry;

/// Room between neighbours: about 24 insertions at one place before a renumbering.
const STEP: u64 = 1 << 24;

/// Labels of the items of one list, by item and occurrence.
#[derive(Default)]
pub(super) struct Labels(HashMap<(u64, u32), u64, foldhash::fast::RandomState>);

impl Labels {
    /// Increasing labels for the items as they stand now.
    pub(super) fn assign(&mut self, entries: &[Entry]) -> Vec<u64> {
        let mut occurrences: HashMap<u64, u32, foldhash::fast::RandomState> = HashMap::default();
        let ids: Vec<(u64, u32)> = entries
            .iter()
            .map(|entry| {
                let id = entry.item.id();
                let count = occurrences.entry(id).or_default();
                *count += 1;
                (id, *count)
            })
            .collect();
        let labels = self.keep(&ids).unwrap_or_else(|| (1..=ids.len() as u64).map(|at| at * STEP).collect());
        self.0 = ids.into_iter().zip(labels.iter().copied()).collect();
        labels
    }

    /// Old labels where they still increase, new ones in the gaps; `None` where a gap is too small.
    fn keep(&self, ids: &[(u64, u32)]) -> Option<Vec<u64>> {
        let mut last = 0;
        let old: Vec<Option<u64>> = ids
            .iter()
            .map(|id| {
                let label = self.0.get(id).copied().filter(|label| *label > last)?;
                last = label;
                Some(label)
            })
            .collect();
        let mut labels = Vec::with_capacity(ids.len());
        let mut below = 0;
        let mut at = 0;
        while at < old.len() {
            if let Some(label) = old.get(at).copied().flatten() {
                labels.push(label);
                below = label;
                at += 1;
                continue;
            }
            let gap = old.iter().skip(at).take_while(|label| label.is_none()).count() as u64;
            let above = old.iter().skip(at).flatten().next().copied();
            let step = match above {
                Some(above) => (above - below) / (gap + 1),
                None => STEP,
            };
            if step == 0 {
                return None;
            }
            labels.extend((1..=gap).map(|nth| below + nth * step));
            below += gap * step;
            at += usize::try_from(gap).ok()?;
        }
        Some(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(pairs: &[(u64, u64)]) -> Labels {
        Labels(pairs.iter().map(|(id, label)| ((*id, 1), *label)).collect())
    }

    #[test]
    fn an_insertion_leaves_all_other_labels_alone() {
        let labels = labelled(&[(1, 100), (2, 200), (3, 300)]);
        assert_eq!(labels.keep(&[(1, 1), (9, 1), (2, 1), (3, 1)]), Some(vec![100, 150, 200, 300]));
        assert_eq!(labels.keep(&[(9, 1), (1, 1), (3, 1)]), Some(vec![50, 100, 300]));
    }

    #[test]
    fn a_full_gap_asks_for_a_renumbering() {
        assert_eq!(labelled(&[(1, 100), (2, 101)]).keep(&[(1, 1), (9, 1), (2, 1)]), None);
    }

    #[test]
    fn an_item_moved_down_gets_a_new_label() {
        let labels = labelled(&[(1, 100), (2, 200), (3, 300)]);
        let moved = labels.keep(&[(2, 1), (3, 1), (1, 1)]).unwrap();
        assert_eq!(moved.get(..2), Some(&[200, 300][..]));
        assert!(moved.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
