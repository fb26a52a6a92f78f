//! A table of nft as data: written whole, or as what changes from one to the next. Pure.
//!
//! Either is one transaction: at no moment is there a part of a table. Source of the syntax: nft(8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Family and name.
    table: &'static str,
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    /// `set` or `map`
    keyword: &'static str,
    /// The types of its elements, and flags.
    of: String,
    elements: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    /// Where the kernel calls it; empty: other chains do.
    hook: String,
    rules: Vec<String>,
}

impl Ruleset {
    pub fn new(table: &'static str) -> Self {
        Self { table, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    pub fn set(&mut self, name: &str, of: &str, elements: impl IntoIterator<Item = String>) {
        self.put(name, "set", of, elements);
    }

    pub fn map(&mut self, name: &str, of: &str, elements: impl IntoIterator<Item = String>) {
        self.put(name, "map", of, elements);
    }

    /// Whether a set or map has no elements, or is not there.
    pub fn is_empty(&self, name: &str) -> bool {
        self.sets.get(name).is_none_or(|set| set.elements.is_empty())
    }

    fn put(&mut self, name: &str, keyword: &'static str, of: &str, elements: impl IntoIterator<Item = String>) {
        let set = Set { keyword, of: of.to_owned(), elements: elements.into_iter().collect() };
        self.sets.insert(name.to_owned(), set);
    }

    /// A chain that others call.
    pub fn chain(&mut self, name: &str, rules: impl IntoIterator<Item = String>) {
        self.hooked(name, "", rules);
    }

    pub fn hooked(&mut self, name: &str, hook: &str, rules: impl IntoIterator<Item = String>) {
        let chain = Chain { hook: hook.to_owned(), rules: rules.into_iter().collect() };
        self.chains.insert(name.to_owned(), chain);
    }

    /// Replaces whatever the table was.
    pub fn whole(&self) -> String {
        let table = self.table;
        let mut text = format!("add table {table}\ndelete table {table}\ntable {table} {{\n");
        for (name, Set { keyword, of, elements }) in &self.sets {
            let elements = if elements.is_empty() { String::new() } else { format!(" elements = {};", list(elements)) };
            let _ = writeln!(text, "  {keyword} {name} {{ type {of};{elements} }}");
        }
        for (name, Chain { hook, rules }) in &self.chains {
            let _ = writeln!(text, "  chain {name} {{{}{hook}", if hook.is_empty() { "" } else { " " });
            for rule in rules {
                let _ = writeln!(text, "    {rule}");
            }
            text.push_str("  }\n");
        }
        text.push_str("}\n");
        text
    }

    /// What makes this of a table that is exactly `old`; `None`: it is this.
    pub fn since(&self, old: &Self) -> Option<String> {
        if self == old {
            return None;
        }
        let alike = |(name, set): (&String, &Set)| old.sets.get(name).is_none_or(|old| old.is_like(set));
        let hooks = |of: &Self| -> BTreeMap<String, String> {
            of.chains.iter().filter(|(_, c)| !c.hook.is_empty()).map(|(n, c)| (n.clone(), c.hook.clone())).collect()
        };
        if self.table != old.table || !self.sets.iter().all(alike) || hooks(self) != hooks(old) {
            return Some(self.whole());
        }
        let mut text = String::new();
        self.less(old, &mut text);
        self.more(old, &mut text);
        Some(text)
    }

    /// What is there no more goes first: a key can then come back with another value.
    fn less(&self, old: &Self, text: &mut String) {
        let table = self.table;
        for (name, was) in &old.sets {
            match self.sets.get(name) {
                Some(set) if set.elements == was.elements => {}
                // Of ranges the kernel keeps the edges, which neighbours share.
                _ if was.of.contains("interval") => {
                    let _ = writeln!(text, "flush {} {table} {name}", was.keyword);
                }
                set => {
                    let gone = was.elements.iter().filter(|e| set.is_none_or(|set| !set.elements.contains(*e)));
                    let keys: BTreeSet<String> = gone.map(|e| key(e).to_owned()).collect();
                    if !keys.is_empty() {
                        let _ = writeln!(text, "delete element {table} {name} {}", list(&keys));
                    }
                }
            }
        }
    }

    fn more(&self, old: &Self, text: &mut String) {
        let table = self.table;
        for (name, Set { keyword, of, .. }) in self.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
            let _ = writeln!(text, "add {keyword} {table} {name} {{ type {of}; }}");
        }
        for (name, _) in self.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            let _ = writeln!(text, "add chain {table} {name}");
        }
        for (name, chain) in self.chains.iter().filter(|(name, chain)| old.chains.get(*name) != Some(*chain)) {
            if old.chains.contains_key(name) {
                let _ = writeln!(text, "flush chain {table} {name}");
            }
            for rule in &chain.rules {
                let _ = writeln!(text, "add rule {table} {name} {rule}");
            }
        }
        let empty = BTreeSet::new();
        for (name, set) in &self.sets {
            let was = old.sets.get(name).filter(|_| !set.of.contains("interval")).map_or(&empty, |was| &was.elements);
            let again = old.sets.get(name).is_some_and(|was| was.elements == set.elements);
            let new: BTreeSet<String> = set.elements.difference(was).cloned().collect();
            if !again && !new.is_empty() {
                let _ = writeln!(text, "add element {table} {name} {}", list(&new));
            }
        }
        // What nobody calls any more: after the rules and the elements that did.
        let gone = old.chains.keys().filter(|name| !self.chains.contains_key(*name));
        // They may call each other.
        for word in ["flush", "delete"] {
            for name in gone.clone() {
                let _ = writeln!(text, "{word} chain {table} {name}");
            }
        }
        for (name, set) in old.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name)) {
            let _ = writeln!(text, "delete {} {table} {name}", set.keyword);
        }
    }
}

impl Set {
    fn is_like(&self, other: &Self) -> bool {
        self.keyword == other.keyword && self.of == other.of
    }
}

fn list(elements: &BTreeSet<String>) -> String {
    format!("{{ {} }}", elements.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Of a map's element, what it is found by.
fn key(element: &str) -> &str {
    element.split_once(" : ").map_or(element, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::network::netns;

    fn rules(addresses: &[u8], groups: &[u8], ranges: &[u8]) -> Ruleset {
        let mut rules = Ruleset::new("inet t");
        rules.set("a", "ifname . ipv4_addr", addresses.iter().map(|n| format!("\"tap{n}\" . 10.0.0.{n}")));
        rules.map(
            "v",
            "ifname : verdict",
            addresses.iter().map(|n| format!("\"tap{n}\" : goto g_{}", groups[usize::from(*n) % groups.len()])),
        );
        rules.map("w", "ipv4_addr : mark; flags interval", ranges.iter().map(|n| format!("10.{n}.0.0/16 : {n}")));
        for n in groups {
            rules.set(&format!("m_{n}"), "ipv4_addr", addresses.iter().map(|a| format!("10.{n}.0.{a}")));
            rules.chain(
                &format!("g_{n}"),
                [format!("ip saddr @m_{n} accept"), format!("tcp dport {} accept", 100 + addresses.len())],
            );
        }
        rules.hooked(
            "c",
            "type filter hook forward priority 0; policy drop;",
            ["iifname vmap @v".to_owned(), "meta mark set ip daddr map @w".to_owned()],
        );
        rules
    }

    #[test]
    fn only_what_changes_is_written() {
        let (old, new) = (rules(&[1, 2], &[0], &[1, 2]), rules(&[1, 3], &[0], &[1, 2]));
        assert_eq!(new.since(&new), None);
        expect![[r#"
            delete element inet t a { "tap2" . 10.0.0.2 }
            delete element inet t m_0 { 10.0.0.2 }
            delete element inet t v { "tap2" }
            add element inet t a { "tap3" . 10.0.0.3 }
            add element inet t m_0 { 10.0.0.3 }
            add element inet t v { "tap3" : goto g_0 }
        "#]]
        .assert_eq(&new.since(&old).expect("it changes"));
        let other = Ruleset::new("inet other");
        assert_eq!(new.since(&other), Some(new.whole()));
    }

    fn few(of: std::ops::Range<u8>, least: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::btree_set(of, least..6).prop_map(|all| all.into_iter().collect())
    }

    fn any_rules() -> impl Strategy<Value = Ruleset> {
        (few(1..20, 0), few(0..4, 1), few(0..9, 0)).prop_map(|(a, g, r)| rules(&a, &g, &r))
    }

    /// In a network of its own; `None`: this machine cannot.
    fn listed(texts: &[String]) -> Option<String> {
        let script =
            texts.iter().fold("set -e\n".to_owned(), |script, text| format!("{script}nft -f - <<'END'\n{text}\nEND\n"));
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        std::io::Write::write_all(&mut child.stdin.take()?, format!("{script}nft list table inet t\n").as_bytes())
            .ok()?;
        let output = child.wait_with_output().ok()?;
        assert!(output.status.success(), "{texts:?}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The kernel lists in an order of its own.
    fn sorted(listing: &str) -> BTreeMap<String, Vec<String>> {
        let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut of = String::new();
        for line in listing.lines() {
            if line.ends_with('{') {
                of = line.trim().to_owned();
            }
            let words = line.replace("elements = {", "").replace('}', "");
            blocks
                .entry(of.clone())
                .or_default()
                .extend(words.split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()));
        }
        blocks.values_mut().filter(|words| !words.iter().any(|w| w.contains("accept"))).for_each(|words| words.sort());
        blocks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        fn changes_lead_where_the_whole_leads(all in prop::collection::vec(any_rules(), 2..6)) {
            if !nix::unistd::Uid::effective().is_root() || netns::feed("nft", &["--version"], "").is_err() {
                eprintln!("skipped: needs root and nftables");
                return Ok(());
            }
            let mut texts = vec![all[0].whole()];
            texts.extend(all.windows(2).filter_map(|pair| pair[1].since(&pair[0])));
            let last = all.last().expect("some").whole();
            let (changed, whole) = (listed(&texts).expect("runs"), listed(&[last]).expect("runs"));
            prop_assert_eq!(sorted(&changed), sorted(&whole));
        }
    }
}
