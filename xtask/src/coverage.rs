//! `docs/coverage.md`: every action of the API, whether it is real, by which tests, and what of it reaches a machine.
//! All of it is read from the tree, nothing is said by hand but what a kind of thing is on a machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::codegen::ActionFile;
use crate::model::{Model, snake};

/// An action whose file's header has such a line keeps records that no machine follows yet.
const RECORD_ONLY: &str = "//! Record only: ";

/// What a machine does about things of a kind, by the folder of their actions.
const ON_MACHINES: [(&str, &str); 21] = [
    ("address", "one-to-one mapping in nftables"),
    ("dhcp_options", "DHCP"),
    ("egress_only", "routes and nftables"),
    ("fleet", "scheduler and hypervisor"),
    ("flow_log", "nftables counts, a host writes it down"),
    ("gateway", "routes and nftables"),
    ("group", "nftables"),
    ("image", "disks of new instances"),
    ("export", "a host writes a file"),
    ("import", "a host fetches, converts and keeps it"),
    ("instance", "hypervisor"),
    ("interface", "taps, DHCP, nftables"),
    ("key", "metadata service"),
    ("network_acl", "nftables"),
    ("placement", "scheduler"),
    ("route", "routes and nftables"),
    ("snapshot", "files below the volumes of instances"),
    ("tag", "metadata service, where it is allowed"),
    ("template", "scheduler and hypervisor"),
    ("volume", "disks of instances"),
    ("vpc", "namespaces, DHCP, DNS"),
];

struct Tests(Vec<(String, String)>);

impl Tests {
    fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for folder in [
            "tests/conformance",
            "tests/conformance/areas",
            "tests/e2e",
            "tests/clients",
            "crates/control/tests/grammar",
        ] {
            let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
            for entry in entries {
                let path = entry?.path();
                if path.is_file() {
                    let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    files.push((name, std::fs::read_to_string(&path)?));
                }
            }
        }
        files.sort();
        Ok(Self(files))
    }

    /// `unit 3, every client's 1, fuzz, e2e`
    fn of(&self, action: &ActionFile, text: &str) -> String {
        let (quoted, called) = (format!("\"{}\"", action.name), format!("{}(", snake(&action.name)));
        let told = |under: &str| {
            let mine = self.0.iter().filter(|(name, _)| name.starts_with(under));
            mine.filter(|(_, text)| text.contains(&quoted) || text.contains(&called)).count()
        };
        let mut out = vec![format!("unit {}", text.matches("#[test]").count())];
        for (under, shown) in
            [("tests/conformance", "clients"), ("tests/clients", "tools"), ("tests/e2e", "guests"), ("crates", "fuzz")]
        {
            match told(under) {
                0 => {}
                n => out.push(format!("{shown} {n}")),
            }
        }
        out.join(", ")
    }
}

fn on_machines(action: &ActionFile, text: &str) -> (&'static str, String) {
    if let Some(why) = text.lines().find_map(|line| line.strip_prefix(RECORD_ONLY)) {
        return ("record only", why.to_owned());
    }
    let looks = ["Describe", "Filter", "Get", "List"].iter().any(|verb| action.name.starts_with(verb));
    let plane = match ON_MACHINES.iter().find(|(noun, _)| *noun == action.noun) {
        _ if action.live && looks => "asks the host",
        _ if looks => "–",
        Some((_, plane)) => plane,
        None => "control plane",
    };
    ("real", plane.to_owned())
}

pub fn page(root: &Path, models: &BTreeMap<&'static str, Model>, actions: &[ActionFile]) -> Result<String> {
    let tests = Tests::read(root)?;
    let (mut rows, mut counts) = (String::new(), String::new());
    for (service, model) in models {
        let _ = write!(
            rows,
            "\n## {}\n\n| action | is | on machines | tests, by files that call it |\n| --- | --- | --- | --- |\n",
            service.to_uppercase()
        );
        let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
        for name in model.ops.keys() {
            let file = actions.iter().find(|a| a.service == *service && a.name == *name);
            let (is, plane, tested) = match file {
                Some(action) => {
                    let text = std::fs::read_to_string(root.join(action.path()))?;
                    let (is, plane) = on_machines(action, &text);
                    (is, plane, tests.of(action, &text))
                }
                None if *service == "ec2" && ["Describe", "Get", "List"].iter().any(|verb| name.starts_with(verb)) => {
                    ("empty", "–".to_owned(), String::new())
                }
                None => ("unsupported", "–".to_owned(), String::new()),
            };
            *sums.entry(is).or_default() += 1;
            let _ = writeln!(rows, "| {name} | {is} | {plane} | {tested} |");
        }
        let of = |is: &str| sums.get(is).copied().unwrap_or(0);
        let [real, record, empty, no] = ["real", "record only", "empty", "unsupported"].map(of);
        let _ = writeln!(
            counts,
            "| {} | {} | {real} | {record} | {empty} | {no} |",
            service.to_uppercase(),
            model.ops.len()
        );
    }
    Ok(format!(
        "# Coverage of the API\n\nWritten by `cargo xtask codegen` from the code; `cargo xtask tidy` fails where it is not current.\n\n\
         *Real*: what the action says comes to be. *Record only*: the record is kept, checked and shown, and no machine follows it yet. *Empty*: answers\n\
         a valid, empty document. *Unsupported*: answers `UnsupportedOperation`. `tests/conformance/test_names.py` asks for every name of EC2's.\n\
         *Tests*: unit tests in the action's file, and how many files of each kind call it: real clients, other tools, real guests, fuzzed requests.\n\n\
         | service | actions | real | record only | empty | unsupported |\n| --- | --- | --- | --- | --- | --- |\n{counts}{rows}"
    ))
}
