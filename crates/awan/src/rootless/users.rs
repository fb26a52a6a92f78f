//! Which user ids there are inside: the user's own, as 0, and a range of further ones where the machine gives one.

use std::ops::Range;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::node::USERS;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// User and group.
    own: (u32, u32),
    /// First user, first group, and how many there are of both.
    further: Option<(u32, u32, u32)>,
}

impl Mapping {
    pub fn own() -> Self {
        let own = (nix::unistd::Uid::effective().as_raw(), nix::unistd::Gid::effective().as_raw());
        Self { own, further: None }
    }

    /// With a range from /etc/subuid and /etc/subgid, where there is a large enough one and who may give it.
    pub fn subordinate() -> Option<Self> {
        let own = Self::own();
        let name = nix::unistd::User::from_uid(own.own.0.into()).ok().flatten().map(|user| user.name);
        let range = |path: &str| {
            let text = std::fs::read_to_string(path).ok()?;
            range_in(&text, name.as_deref().unwrap_or_default(), own.own.0)
        };
        let (user, group) = (range("/etc/subuid")?, range("/etc/subgid")?);
        let there = super::is_there("newuidmap") && super::is_there("newgidmap");
        there.then_some(Self { further: Some((user.0, group.0, user.1.min(group.1))), ..own })
    }

    pub fn further_users(&self) -> Option<(u32, u32)> {
        self.further.map(|(users, _, count)| (users, count))
    }

    /// Gives a process that is in a new user namespace its ids.
    pub fn write(&self, pid: i32) -> Result<()> {
        let (user, group) = self.own;
        let Some((users, groups, count)) = self.further else {
            let put = |file: &str, text: String| {
                let path = format!("/proc/{pid}/{file}");
                std::fs::write(&path, text).with_context(|| format!("writing {path}"))
            };
            put("setgroups", "deny".to_owned())?;
            put("uid_map", format!("0 {user} 1\n"))?;
            return put("gid_map", format!("0 {group} 1\n"));
        };
        map("newuidmap", pid, user, users, count)?;
        map("newgidmap", pid, group, groups, count)
    }
}

fn map(program: &str, pid: i32, own: u32, first: u32, count: u32) -> Result<()> {
    let numbers = [0, own, 1, 1, first, count].map(|n| n.to_string());
    let output = Command::new(program).arg(pid.to_string()).args(numbers).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{}", String::from_utf8_lossy(&output.stderr).trim())
}

/// `NAME:FIRST:COUNT` or `UID:FIRST:COUNT` (subuid(5)); the first range that suffices.
fn range_in(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let whose = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let ours = (!name.is_empty() && whose == name) || whose.parse() == Ok(uid);
        (ours && count > USERS).then_some((first, count))
    })
}

/// The ids that guests may have in the namespace that this process is in.
pub fn here() -> Option<Range<u32>> {
    users_in(&std::fs::read_to_string("/proc/self/uid_map").ok()?)
}

/// Each line: first inside, first outside, how many (user_namespaces(7)).
fn users_in(map: &str) -> Option<Range<u32>> {
    map.lines().find_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (first, count) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        (first == 1 && count >= USERS).then_some(1..1 + USERS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_users_by_name_or_number_and_large_enough() {
        let text = "other:100000:65536\nme:165536:1000\n# me:1:65536\nme:231072:65536\n1000:300000:65536\n";
        assert_eq!(range_in(text, "me", 5), Some((231_072, 65_536)));
        assert_eq!(range_in(text, "you", 1000), Some((300_000, 65_536)));
        assert_eq!(range_in(text, "", 5), None);
    }

    #[test]
    fn guests_have_ids_of_their_own_where_a_range_is_mapped() {
        assert_eq!(users_in("         0       1000          1\n"), None);
        assert_eq!(users_in("         0       1000          1\n         1     231072      65536\n"), Some(1..10_001));
        assert_eq!(users_in("         0          0 4294967295\n"), None);
    }
}
