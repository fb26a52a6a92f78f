//! Reads `crates/wire/model/*.txt`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

pub struct Model {
    pub ops: BTreeMap<String, Op>,
    pub shapes: BTreeMap<String, Shape>,
}

pub struct Op {
    pub input: Option<String>,
    pub output: Option<String>,
    /// Of a service that speaks REST.
    pub route: Option<Route>,
}

pub struct Route {
    pub method: String,
    pub path: String,
    pub status: String,
}

pub enum Shape {
    Struct(Vec<Member>),
    List { member: String, item: String },
    Map,
    Scalar(String),
}

pub struct Member {
    pub name: String,
    pub shape: String,
    pub query: String,
    pub xml: String,
    pub required: bool,
}

impl Model {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut model = Self { ops: BTreeMap::new(), shapes: BTreeMap::new() };
        let mut open: Option<(String, Vec<Member>)> = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if line.starts_with(' ') {
                if let (Some((_, members)), [name, shape, query, xml, rest @ ..]) = (&mut open, &words[..]) {
                    let [name, shape, query, xml] = [name, shape, query, xml].map(|w| (*w).to_owned());
                    members.push(Member { name, shape, query, xml, required: !rest.is_empty() });
                }
                continue;
            }
            if let Some((name, members)) = open.take() {
                model.shapes.insert(name, Shape::Struct(members));
            }
            open = model.line(&words);
        }
        if let Some((name, members)) = open {
            model.shapes.insert(name, Shape::Struct(members));
        }
        Ok(model)
    }

    fn line(&mut self, words: &[&str]) -> Option<(String, Vec<Member>)> {
        let shape = |name: &str| (name != "-").then(|| name.split('/').next().unwrap_or(name).to_owned());
        match words {
            ["struct", name] => return Some(((*name).to_owned(), Vec::new())),
            ["op", name, input, output, rest @ ..] => {
                let route = match rest {
                    [method, path, status] => {
                        let [method, path, status] = [method, path, status].map(|w| (*w).to_owned());
                        Some(Route { method, path, status })
                    }
                    _ => None,
                };
                self.ops.insert((*name).to_owned(), Op { input: shape(input), output: shape(output), route });
            }
            ["list", name, member, item] => {
                let (member, item) = ((*member).to_owned(), (*item).to_owned());
                self.shapes.insert((*name).to_owned(), Shape::List { member, item });
            }
            ["map", name, ..] => drop(self.shapes.insert((*name).to_owned(), Shape::Map)),
            ["scalar", name, kind] => drop(self.shapes.insert((*name).to_owned(), Shape::Scalar((*kind).to_owned()))),
            _ => {}
        }
        None
    }
}

/// `StartInstances` → `start_instances`
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|j| chars.get(j));
        let lower_before = before.is_some_and(|b| b.is_lowercase() || b.is_ascii_digit());
        let word_starts =
            before.is_some_and(|b| b.is_uppercase()) && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (lower_before || word_starts) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_rusts() {
        let names = ["StartInstances", "DescribeVpcs", "CidrIp", "IPAddress", "Ipv6Pool", "VPCZoneIdentifier"];
        let snakes: Vec<_> = names.iter().map(|n| snake(n)).collect();
        assert_eq!(snakes.join(" "), "start_instances describe_vpcs cidr_ip ip_address ipv6_pool vpc_zone_identifier");
    }
}
