//! Fresh seeds each time; a failure prints its seed. Replay: `AWAN_SIM_SEED=N cargo test -p awan-sim`.

use awan_sim::{Plant, run};

const STEPS: usize = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn random_worlds_stay_right() {
    let steps = number("AWAN_SIM_STEPS").unwrap_or(100_000);
    let first = number("AWAN_SIM_SEED");
    let seeds = first.map_or(steps / STEPS as u64, |_| 1);
    let first = first.unwrap_or_else(rand::random::<u64>);
    for n in 0..seeds {
        if let Err(wrong) = run(first.wrapping_add(n), STEPS, Plant::Nothing) {
            panic!("{wrong}\nreplay: AWAN_SIM_SEED={} cargo test -p awan-sim", first.wrapping_add(n));
        }
    }
}

#[test]
fn planted_mistakes_are_found() {
    for plant in
        [Plant::ReportsEarlierRuns, Plant::RevivesRuns, Plant::FreesEarly, Plant::NeverDeclares, Plant::RunsStrangers]
    {
        let found = (0..300).find(|seed| run(*seed, STEPS, plant).is_err());
        assert!(found.is_some(), "{plant:?} was not found in 300 seeds");
    }
}
