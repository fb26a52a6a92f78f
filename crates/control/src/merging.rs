//! Which files of what volumes held become one next, so that disks are read through few of them, however many snapshots
//! there are, and so that what was overwritten in deleted snapshots gives its room back. Pure.
//!
//! **Invariant.** What bytes are does not change by it, and nothing else begins as other bytes than before: content that is
//! merged has in its own file what lay between it and something further below. What nothing begins as any more then goes
//! like all else that nothing begins as.
//!
//! Two reasons. Of content that nobody but the next above needs, its room comes back. And a chain of content that is all
//! needed is made shorter by steps: what has the changes of [`WIDTH`] or more of a size becomes one of the next size, so
//! that there are at most `WIDTH - 1` of each, and each change lies in one file more for each size, not in each file.
//!
//! Never merged are images and disks from elsewhere, which many begin as. What is encrypted is merged with what is below it,
//! encrypted or not, into a file that its own key opens; it never becomes part of a file that is not encrypted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use awan_model::id::{HostId, ImageId};
use awan_model::import::{Content, Merge, Merging, Source, Taken};
use awan_state::Millis;

/// So many in a row of one size become one of the next.
const WIDTH: usize = 8;
/// So much is written for what little comes of it.
const SMALL: u64 = 64 << 20;
/// Else room comes back only if it may be this part of what is written.
const WORTH: u64 = 8;
const MIB: u64 = 1 << 20;
const AGAIN_MS: Millis = 10 * 60 * 1000;
const MENDED_MS: Millis = 24 * 60 * 60 * 1000;

/// Whether it is dead, and how much is below it; and what is to be done.
type Found = ((bool, usize), Arc<Content>, Merge);

/// When what could not be merged is tried again: room may come soon; what else is wrong stays so, unless somebody mends it.
pub fn again(now: Millis, full: bool) -> Millis {
    now + if full { AGAIN_MS } else { MENDED_MS }
}

/// What each host without a merge under way may do, the best first. `roots`: what snapshots, images and volumes begin as.
pub fn candidates(
    all: &[Arc<Content>],
    roots: &BTreeSet<ImageId>,
    now: Millis,
) -> BTreeMap<HostId, Vec<(Arc<Content>, Merge)>> {
    let busy: BTreeSet<&HostId> = all.iter().filter(|c| c.merging.merge.is_some()).map(|c| &c.host).collect();
    let chains = Chains::of(all, roots);
    let mut found: BTreeMap<HostId, Vec<Found>> = BTreeMap::new();
    let is_held = |content: &Content| content.merging.again.is_some_and(|again| now < again);
    for content in all.iter().filter(|content| !busy.contains(&content.host) && !is_held(content)) {
        if let Some(merge) = chains.merge(content) {
            let order = (chains.is_dead(content), chains.below(content).count());
            found.entry(content.host.clone()).or_default().push((order, content.clone(), merge));
        }
    }
    // What is needed first, because all that is dead below it may go at once; then from the bottom up, so that what was
    // merged is merged again with others of its size.
    let sorted = |mut of: Vec<Found>| {
        of.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        of.into_iter().map(|(_, content, merge)| (content, merge)).collect()
    };
    found.into_iter().map(|(host, of)| (host, sorted(of))).collect()
}

/// Whether these bytes were what volumes held, lie whole on their host, and may be part of another file.
fn is_mergeable(content: &Content) -> bool {
    content.taken().is_some() && content.bytes.is_some()
}

/// What is recorded of these bytes when their host has said that their file is a child of this. `None`: it is, or it cannot
/// be, because that was not below them.
pub fn after(
    content: &Content,
    below: Option<&ImageId>,
    find: impl Fn(&ImageId) -> Option<Arc<Content>>,
) -> Option<Content> {
    let taken = content.taken().filter(|taken| taken.below.as_ref() != below)?;
    let (mut span, mut next) = (span(content), taken.below.clone());
    while next.as_ref() != below {
        let lower = find(&next?)?;
        span = span.saturating_add(self::span(&lower));
        next = lower.taken()?.below.clone();
    }
    let merging = Merging { span, ..Merging::default() };
    let source = Source::Taken(Taken { below: below.cloned(), ..taken.clone() });
    Some(Content { merging, source, ..content.clone() })
}

struct Chains<'c> {
    by_id: HashMap<&'c ImageId, &'c Arc<Content>>,
    children: HashMap<&'c ImageId, usize>,
    roots: &'c BTreeSet<ImageId>,
}

impl<'c> Chains<'c> {
    fn of(all: &'c [Arc<Content>], roots: &'c BTreeSet<ImageId>) -> Self {
        let by_id = all.iter().map(|content| (&content.id, content)).collect();
        let mut children: HashMap<&ImageId, usize> = HashMap::new();
        for below in all.iter().filter_map(|content| content.below()) {
            *children.entry(below).or_default() += 1;
        }
        Self { by_id, children, roots }
    }

    /// What could become part of its file, the nearest first.
    fn below<'s>(&'s self, content: &'s Content) -> impl Iterator<Item = &'c Arc<Content>> + 's {
        let next = |of: &Content| {
            let lower = self.by_id.get(of.taken()?.below.as_ref()?).copied();
            let may_be_in_it = |lower: &Content| content.key().is_some() || lower.key().is_none();
            lower.filter(|lower| is_mergeable(lower) && lower.host == content.host && may_be_in_it(lower))
        };
        std::iter::successors(next(content), move |lower| next(lower))
    }

    fn merge(&self, content: &Content) -> Option<Merge> {
        if !is_mergeable(content) {
            return None;
        }
        // As far as either reason may go.
        let near = |lower: &&Arc<Content>| self.is_dead(lower) || size(lower) <= size(content);
        let below: Vec<_> = self.below(content).take_while(near).collect();
        let count = self.freed(content, &below).max(shortened(content, &below));
        let last = below.get(count.checked_sub(1)?)?;
        let merged = || std::iter::once(content).chain(below[..count].iter().map(|lower| &***lower));
        // What lies in several of them is written once, but nobody knows how much that is.
        let bytes: u64 = merged().filter_map(|one| one.bytes).sum();
        let largest = merged().map(|one| u64::from(one.size_gib) << 10).max().unwrap_or(0);
        Some(Merge {
            below: last.taken().and_then(|taken| taken.below.clone()),
            room_mib: bytes.div_ceil(MIB).min(largest),
        })
    }

    /// Nobody begins as it but the next above.
    fn is_dead(&self, lower: &Content) -> bool {
        !self.roots.contains(&lower.id) && self.children.get(&lower.id) == Some(&1)
    }

    /// How many to merge for their room.
    fn freed(&self, content: &Content, below: &[&Arc<Content>]) -> usize {
        let own = content.bytes.unwrap_or(0);
        let (mut count, mut dead) = (0, 0_u64);
        for (n, lower) in below.iter().enumerate().take_while(|(_, lower)| self.is_dead(lower)) {
            dead += lower.bytes.unwrap_or(0);
            if own + dead <= SMALL || own.min(dead).saturating_mul(WORTH) >= own + dead {
                count = n + 1;
            }
        }
        count
    }
}

/// How many to merge so that there are fewer of this size, or of smaller ones, in a row.
fn shortened(content: &Content, below: &[&Arc<Content>]) -> usize {
    let size = size(content);
    let alike = below.iter().take_while(|lower| self::size(lower) <= size).count();
    if alike + 1 >= WIDTH { alike } else { 0 }
}

fn span(content: &Content) -> u32 {
    content.merging.span.max(1)
}

fn size(content: &Content) -> u32 {
    span(content).ilog(WIDTH as u32)
}

#[cfg(test)]
mod tests;
