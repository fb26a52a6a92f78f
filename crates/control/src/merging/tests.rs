//! Chains stay short, what is dead goes, and what is needed stays, whatever the order.

use awan_model::Home;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const GIB: u64 = 1 << 30;

fn id(n: usize) -> ImageId {
    ImageId::made(format!("ami-{n:017x}"))
}

fn content(n: usize, below: Option<usize>, bytes: u64) -> Arc<Content> {
    let taken = Taken {
        volume: "vol-00000000000000001".parse().expect("an id"),
        below: below.map(id),
        generation: 1,
        set: id(n),
        volume_gib: 100,
        key: None,
    };
    Arc::new(Content {
        home: Home::new("1", "r"),
        id: id(n),
        host: HostId::new("host").expect("an id"),
        size_gib: 100,
        bytes: Some(bytes),
        merging: Merging::default(),
        source: Source::Taken(taken),
    })
}

/// Records as the control plane has them, with a volume that goes on.
#[derive(Default)]
struct World {
    all: Vec<Arc<Content>>,
    snapshots: BTreeSet<ImageId>,
    newest: Option<usize>,
    count: usize,
    /// In bytes, by merging.
    written: u64,
}

impl World {
    fn snapshot(&mut self, bytes: u64) {
        self.count += 1;
        self.all.push(content(self.count, self.newest, bytes));
        self.snapshots.insert(id(self.count));
        self.newest = Some(self.count);
    }

    fn roots(&self) -> BTreeSet<ImageId> {
        self.snapshots.iter().cloned().chain(self.newest.map(id)).collect()
    }

    fn next(&self) -> Option<(Arc<Content>, Merge)> {
        let found = candidates(&self.all, &self.roots(), 0);
        found.into_values().next().map(|mut all| all.remove(0))
    }

    /// As a host does it: every change is of other bytes.
    fn merge(&mut self) -> bool {
        let Some((which, merge)) = self.next() else { return false };
        self.written += merge.room_mib << 20;
        let find = |id: &ImageId| self.all.iter().find(|content| content.id == *id).cloned();
        let merged = after(&which, merge.below.as_ref(), find).expect("that was below it");
        let at = self.all.iter().position(|content| content.id == which.id).expect("is there");
        self.all[at] = Arc::new(Content { bytes: Some(merge.room_mib << 20), ..merged });
        self.collect();
        true
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.merge() {
                return;
            }
        }
        panic!("merging takes no end");
    }

    fn collect(&mut self) {
        let mut wanted = self.roots();
        for root in wanted.clone() {
            let mut next = self.below(&root);
            while let Some(id) = next.filter(|id| wanted.insert(id.clone())) {
                next = self.below(&id);
            }
        }
        self.all.retain(|content| wanted.contains(&content.id));
    }

    fn below(&self, id: &ImageId) -> Option<ImageId> {
        let content = self.all.iter().find(|content| content.id == *id).expect("nothing that is needed is gone");
        content.taken().and_then(|taken| taken.below.clone())
    }

    fn depth(&self, of: &ImageId) -> usize {
        let (mut depth, mut next) = (0, Some(of.clone()));
        while let Some(id) = next {
            depth += 1;
            next = self.below(&id);
        }
        depth
    }

    fn deepest(&self) -> usize {
        self.roots().iter().map(|id| self.depth(id)).max().unwrap_or(0)
    }
}

#[test]
fn a_thousand_snapshots_that_all_stay_are_read_through_few_files() {
    let mut world = World::default();
    let mut deepest = 0;
    for _ in 0..1_000 {
        world.snapshot(MIB);
        world.settle();
        deepest = deepest.max(world.depth(&id(world.count)));
    }
    assert_eq!((world.all.len(), deepest.max(world.deepest())), (1_000, 21));
    // Each change is written once for each size of what is merged.
    assert_eq!(world.written / MIB, 2_472);
}

#[test]
fn many_snapshots_at_once_are_merged_from_the_bottom() {
    let mut world = World::default();
    for _ in 0..128 {
        world.snapshot(MIB);
    }
    assert_eq!(world.deepest(), 128);
    let first = world.next().map(|(content, merge)| (content.id.clone(), merge.below));
    assert_eq!(first, Some((id(8), None)));
    world.settle();
    assert!(world.deepest() <= 16, "{}", world.deepest());
}

#[test]
fn of_deleted_snapshots_nothing_is_left_but_what_is_needed() {
    let mut world = World::default();
    for _ in 0..20 {
        world.snapshot(MIB);
    }
    world.snapshots.clear();
    world.settle();
    assert_eq!((world.all.len(), world.deepest()), (1, 1), "the volume is a child of one file");
}

#[test]
fn what_is_large_is_not_written_again_for_what_little_comes_of_it() {
    let mut world = World::default();
    world.snapshot(100 * GIB);
    for _ in 0..20 {
        world.snapshot(GIB);
    }
    // The oldest goes each time, as backups do it.
    world.snapshots.pop_first();
    assert_eq!(shown(&world), None, "a gibibyte at most would come back of a hundred");
    let mut written = 0;
    for _ in 0..20 {
        world.snapshots.pop_first();
        while let Some((_, merge)) = world.next() {
            written += merge.room_mib >> 10;
            world.merge();
        }
    }
    assert_eq!((world.all.len(), written), (2, 188), "the large one was written once");
}

fn shown(world: &World) -> Option<ImageId> {
    // Those that make the chain shorter are not meant.
    let chains_of = world.roots();
    let chains = Chains::of(&world.all, &chains_of);
    let of = world.all.iter().find(|content| chains.freed(content, &chains.below(content).collect::<Vec<_>>()) > 0);
    of.map(|content| content.id.clone())
}

#[test]
fn what_others_begin_as_what_is_not_kept_yet_and_what_failed_a_while_ago_is_left_alone() {
    let small = |n, below| content(n, below, MIB);
    let only = |all: &[Arc<Content>], roots: &[usize]| {
        let found = candidates(all, &roots.iter().map(|n| id(*n)).collect(), 7);
        let of = found.into_values().flatten();
        of.map(|(content, merge)| (content.id.clone(), merge.below)).collect::<Vec<_>>()
    };
    let all = [small(1, None), small(2, Some(1)), small(3, Some(2))];
    assert_eq!(only(&all, &[3]), [(id(3), None), (id(2), None)]);
    assert_eq!(only(&all, &[3, 1]), [(id(3), Some(id(1)))]);
    assert_eq!(only(&all, &[3, 2, 1]), []);
    // Two begin as the second.
    let two = [all.as_slice(), &[small(4, Some(2))]].concat();
    assert_eq!(only(&two, &[3, 4]), [(id(2), None)]);
    let changed = |n: usize, change: fn(&mut Content)| {
        let mut all = all.to_vec();
        change(Arc::make_mut(&mut all[n]));
        only(&all, &[3])
    };
    assert_eq!(changed(1, |content| content.bytes = None), []);
    assert_eq!(changed(2, |content| content.merging.again = Some(8)), [(id(2), None)]);
    assert_eq!(changed(2, |content| content.merging.again = Some(7)), [(id(3), None), (id(2), None)]);
    assert_eq!(changed(0, |content| content.host = HostId::new("other").expect("an id")), [(id(3), Some(id(1)))]);
    let merge = Merge { below: None, room_mib: 1 };
    let mut busy = all.to_vec();
    Arc::make_mut(&mut busy[1]).merging.merge = Some(merge);
    assert_eq!(only(&busy, &[3]), [], "one at a time on a host");
}

#[test]
#[expect(clippy::print_stderr, reason = "it says how to do it again")]
fn in_any_order_merging_ends_and_chains_are_short() {
    let seed: u64 = std::env::var("AWAN_MERGE_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    eprintln!("AWAN_MERGE_SEED={seed} replays this");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut world = World::default();
    for step in 0..1_500 {
        match dice.random_range(0..10) {
            0..5 => world.snapshot(dice.random_range(1..200) * MIB),
            5..7 => {
                let all: Vec<_> = world.snapshots.iter().cloned().collect();
                if !all.is_empty() {
                    world.snapshots.remove(&all[dice.random_range(0..all.len())]);
                    world.collect();
                }
            }
            // A volume of an old snapshot goes on.
            7 if dice.random_bool(0.1) => {
                let all: Vec<usize> = (1..=world.count).filter(|n| world.snapshots.contains(&id(*n))).collect();
                if !all.is_empty() {
                    world.newest = Some(all[dice.random_range(0..all.len())]);
                    world.collect();
                }
            }
            _ => drop(world.merge()),
        }
        if step % 100 == 99 {
            world.settle();
            assert!(world.deepest() <= 36, "{} files at step {step}", world.deepest());
        }
    }
}

#[test]
fn what_is_encrypted_becomes_part_of_what_is_encrypted_only() {
    let sealed = |mut content: Arc<Content>| {
        let one = Arc::make_mut(&mut content);
        let Source::Taken(taken) = &mut one.source else { panic!("was taken") };
        let of = taken.volume.to_string();
        taken.key = Some(awan_model::key::SealedKey { master: "0badcafe".into(), of, seed: [1; 32] });
        content
    };
    let plain = [content(1, None, GIB), content(2, Some(1), GIB), content(3, Some(2), GIB)];
    let roots = BTreeSet::from([id(3)]);
    // Which are encrypted, and what is merged down to what. The last three are never so.
    let both = [(id(3), None), (id(2), None)];
    for (encrypted, expected) in [
        (&[][..], &both[..]),
        (&[1, 2, 3], &both),
        (&[2, 3], &both),
        (&[3], &both),
        (&[1, 2], &both[1..]),
        (&[2], &both[1..]),
        (&[1], &[(id(3), Some(id(1)))]),
    ] {
        let of_it = |n: usize| encrypted.contains(&(n + 1));
        let all = plain.iter().enumerate().map(|(n, c)| if of_it(n) { sealed(c.clone()) } else { c.clone() });
        let found = candidates(&all.collect::<Vec<_>>(), &roots, 0).into_values().flatten();
        let found: Vec<_> = found.map(|(content, merge)| (content.id.clone(), merge.below)).collect();
        assert_eq!(found, expected, "{encrypted:?}");
    }
}
