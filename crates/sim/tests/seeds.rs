//! Fresh seeds each time; a failure prints its seed. Replay: `AWAN_SIM_SEED=N cargo test -p awan-sim`.

use awan_sim::{Plant, run};

const STEPS: usize = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn random_worlds_stay_right() {
    let steps = number("AWAN_SIM_STEPS").unwrap_or(100_000);
    let (first, seeds) = match number("AWAN_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (rand::random::<u64>(), steps.div_ceil(STEPS as u64)),
    };
    // A world has one thread; there are as many worlds at once as cores.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(8);
    let worlds = |thread: u64| {
        for n in (0..seeds).skip_while(|n| n % threads != thread).step_by(threads as usize) {
            let seed = first.wrapping_add(n);
            if let Err(wrong) = run(seed, STEPS, Plant::Nothing) {
                panic!("{wrong}\nreplay: AWAN_SIM_SEED={seed} cargo test -p awan-sim");
            }
        }
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worlds(thread))).collect();
        for run in runs {
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in 0..5 {
        assert_eq!(run(seed, STEPS, Plant::Nothing), run(seed, STEPS, Plant::Nothing), "seed {seed}");
    }
    assert_ne!(run(0, STEPS, Plant::Nothing), run(1, STEPS, Plant::Nothing));
}

#[test]
fn planted_mistakes_are_found() {
    for plant in Plant::MISTAKES {
        let found = (0..300).find(|seed| run(*seed, STEPS, plant).is_err());
        assert!(found.is_some(), "{plant:?} was not found in 300 seeds");
    }
}
