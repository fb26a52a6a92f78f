//! Rules of security groups: from EC2's permissions and back, and the actions that change them.

use awan_model::group::{Peer, Rule, SecurityGroup, Traffic};
use awan_model::id::RuleId;
use awan_model::prefix_list::Family;
use awan_model::tag::Tags;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::beyond::{self, States};
use crate::actions::ec2::instance::launch;
use crate::actions::ec2::prefix_list::lists;
use crate::error::{Code, Error, Result, combination, invalid, invalid_value, missing, refuse, refuse_both};
use crate::tagging;

/// EC2's default quota: inbound or outbound rules per security group.
pub const RULES_MAX: usize = 60;

/// The old flat way to say one permission.
#[derive(Default)]
pub struct Flat {
    pub protocol: Option<String>,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub cidr: Option<String>,
    pub source_group_name: Option<String>,
    pub source_group_owner: Option<String>,
}

/// The group that a request names by id, or by name in the default VPC.
pub fn group(tx: &mut Tx<Tenant>, id: Option<String>, name: Option<String>) -> Result<SecurityGroup> {
    refuse_both((id.is_some(), "GroupId"), (name.is_some(), "GroupName"))?;
    let id = match (id, name) {
        (Some(id), _) => id.parse()?,
        (None, Some(name)) => {
            let vpc = launch::default_vpc(tx)?;
            launch::by_name(tx, &vpc.id, &name)?
        }
        (None, None) => return Err(missing("GroupId")),
    };
    Ok((*tx.get::<SecurityGroup>(&id)?).clone())
}

/// A rule before it has an id.
pub struct Draft {
    pub traffic: Traffic,
    pub peer: Peer,
    pub description: Option<String>,
}

impl Flat {
    pub fn is_empty(&self) -> bool {
        let Self { protocol, from_port, to_port, cidr, source_group_name, source_group_owner } = self;
        let texts = [protocol, cidr, source_group_name, source_group_owner];
        texts.iter().all(|t| t.is_none()) && from_port.is_none() && to_port.is_none()
    }

    fn permission(self) -> ec2::IpPermission {
        let ranges = self.cidr.map(|cidr| ec2::IpRange { description: None, cidr_ip: Some(cidr) });
        let pairs = self.source_group_name.map(|name| ec2::UserIdGroupPair {
            user_id: self.source_group_owner,
            group_name: Some(name),
            ..Default::default()
        });
        ec2::IpPermission {
            ip_protocol: self.protocol.or_else(|| Some("-1".into())),
            from_port: self.from_port,
            to_port: self.to_port,
            user_id_group_pairs: pairs.into_iter().collect(),
            ip_ranges: ranges.into_iter().collect(),
            ..Default::default()
        }
    }
}

/// Reads the permissions of a request, in either way.
pub fn drafts(
    tx: &mut Tx<Tenant>,
    group: &SecurityGroup,
    mut permissions: Vec<ec2::IpPermission>,
    flat: Flat,
) -> Result<Vec<Draft>> {
    if !flat.is_empty() {
        if !permissions.is_empty() {
            return Err(combination("The parameter 'ipPermissions' may not be used in combination with 'ipProtocol'"));
        }
        permissions.push(flat.permission());
    }
    let mut out = Vec::new();
    for permission in permissions {
        let ec2::IpPermission {
            ip_protocol,
            from_port,
            to_port,
            user_id_group_pairs,
            ip_ranges,
            ipv6_ranges,
            prefix_list_ids,
        } = permission;
        let protocol = ip_protocol.ok_or_else(|| missing("IpPermissions.IpProtocol"))?;
        let traffic = traffic(&protocol, from_port, to_port)?;
        let before = out.len();
        for ec2::IpRange { description, cidr_ip } in ip_ranges {
            let peer = ipv4(&cidr_ip.ok_or_else(|| missing("CidrIp"))?)?;
            out.push(Draft { traffic, peer, description: described(description)? });
        }
        for ec2::Ipv6Range { description, cidr_ipv6 } in ipv6_ranges {
            let peer = ipv6(&cidr_ipv6.ok_or_else(|| missing("CidrIpv6"))?)?;
            out.push(Draft { traffic, peer, description: described(description)? });
        }
        for ec2::PrefixListId { description, prefix_list_id } in prefix_list_ids {
            let id = prefix_list_id.ok_or_else(|| missing("PrefixListId"))?;
            let peer = Peer::PrefixList(lists::usable(tx, &id.parse()?)?.id);
            out.push(Draft { traffic, peer, description: described(description)? });
        }
        for pair in user_id_group_pairs {
            let description = described(pair.description.clone())?;
            out.push(Draft { traffic, peer: beyond::peer(tx, group, pair)?, description });
        }
        if out.len() == before {
            return Err(refuse(Code::InvalidParameter, "A permission names no source or destination"));
        }
    }
    if out.is_empty() { Err(missing("IpPermissions")) } else { Ok(out) }
}

fn described(text: Option<String>) -> Result<Option<String>> {
    let fine = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    match text {
        Some(text) if text.chars().count() > 255 || !text.chars().all(fine) => Err(invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        )),
        other => Ok(other.filter(|t| !t.is_empty())),
    }
}

fn ipv4(text: &str) -> Result<Peer> {
    match text.parse::<Ipv4Net>() {
        // EC2 keeps the network, not the address in it.
        Ok(net) => Ok(Peer::Ipv4(net.trunc())),
        Err(_) => Err(not_a_block(text)),
    }
}

fn ipv6(text: &str) -> Result<Peer> {
    text.parse::<Ipv6Net>().map(|net| Peer::Ipv6(net.trunc())).map_err(|_| not_a_block(text))
}

fn not_a_block(text: &str) -> Error {
    let shown: String = text.chars().take(64).collect();
    match text.parse::<IpNet>() {
        Ok(_) => invalid(format!("CIDR block {} is of the other address family", shown.escape_debug())),
        Err(_) => invalid(format!("CIDR block {} is malformed", shown.escape_debug())),
    }
}

fn traffic(protocol: &str, from: Option<i32>, to: Option<i32>) -> Result<Traffic> {
    let ports = || port_range(from, to);
    match protocol.to_ascii_lowercase().as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => ports().map(|(from, to)| Traffic::Tcp { from, to }),
        "udp" | "17" => ports().map(|(from, to)| Traffic::Udp { from, to }),
        "icmp" | "1" => icmp(from, to).map(|(kind, code)| Traffic::Icmp { kind, code }),
        "icmpv6" | "58" => icmp(from.or(Some(-1)), to.or(Some(-1))).map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        other => match other.parse::<u8>() {
            Ok(number) => Ok(Traffic::Protocol(number)),
            Err(_) => Err(invalid(format!(
                "Invalid value '{}' for IP protocol. Unknown protocol.",
                protocol.chars().take(32).collect::<String>().escape_debug()
            ))),
        },
    }
}

fn port_range(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16)> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."));
    };
    if (from, to) == (-1, -1) {
        return Ok((0, u16::MAX));
    }
    let port = |n: i32| u16::try_from(n).map_err(|_| invalid_value(n, "portRange"));
    let (low, high) = (port(from)?, port(to)?);
    if low > high {
        return Err(invalid(format!("Invalid TCP/UDP port range ({low}:{high})")));
    }
    Ok((low, high))
}

fn icmp(kind: Option<i32>, code: Option<i32>) -> Result<(Option<u8>, Option<u8>)> {
    let part = |n: Option<i32>| match n {
        None => Err(invalid("Invalid value 'Must specify both type and code with ICMP.' for portRange.")),
        Some(-1) => Ok(None),
        Some(n) => u8::try_from(n).map(Some).map_err(|_| invalid_value(n, "icmpTypeCode")),
    };
    match (part(kind)?, part(code)?) {
        (None, Some(_)) => Err(invalid("ICMP code (to port) needs a type (from port)")),
        pair => Ok(pair),
    }
}

/// Adds rules; all of them are new, or none is added.
pub fn authorize(
    tx: &mut Tx<Tenant>,
    mut group: SecurityGroup,
    egress: bool,
    drafts: Vec<Draft>,
    specs: &[ec2::TagSpecification],
) -> Result<Vec<ec2::SecurityGroupRule>> {
    let tags = tagging::specified(specs, "security-group-rule", &["security-group-rule"])?;
    let mut made = Vec::new();
    for Draft { traffic, peer, description } in drafts {
        beyond::must_be_there(tx, &peer)?;
        let id = RuleId::made(tx.new_id(RuleId::PREFIX));
        let rule = Rule { id, egress, traffic, peer, description };
        if group.rules.iter().any(|old| old.same(&rule)) {
            if made.iter().any(|new: &Rule| new.same(&rule)) {
                return Err(invalid("The same permission must not appear multiple times"));
            }
            let message = format!("the specified rule \"{}\" already exists", words(&rule));
            return Err(refuse(Code::InvalidPermissionDuplicate, message));
        }
        group.rules.push(rule.clone());
        made.push(rule);
        // At each rule, so that a request with thousands costs no more than one with some.
        must_have_room(tx, &group)?;
    }
    for rule in &made {
        tagging::add(tx, rule.id.as_str(), &tags)?;
    }
    let states = beyond::states(tx, &made);
    let shown = made.iter().map(|rule| shown(&group, rule, &states, tags.clone())).collect();
    tx.put(group);
    Ok(shown)
}

/// Refuses more rules than a group can have on either side, for either family. A rule that names a group counts for both
/// ("Amazon VPC quotas"), a prefix list for as many as it has room for ("Work with customer-managed prefix lists").
pub fn must_have_room(tx: &mut Tx<Tenant>, group: &SecurityGroup) -> Result<()> {
    for egress in [false, true] {
        let (mut ipv4, mut ipv6) = (0, 0);
        for rule in group.rules.iter().filter(|r| r.egress == egress) {
            match &rule.peer {
                Peer::Ipv4(_) => ipv4 += 1,
                Peer::Ipv6(_) => ipv6 += 1,
                Peer::Group(_) | Peer::Beyond(_) => (ipv4, ipv6) = (ipv4 + 1, ipv6 + 1),
                Peer::PrefixList(id) => {
                    let list = lists::usable(tx, id)?;
                    *(if list.family == Family::Ipv6 { &mut ipv6 } else { &mut ipv4 }) += usize::from(list.max_entries);
                }
            }
        }
        if ipv4.max(ipv6) > RULES_MAX {
            let message = "The maximum number of rules per security group has been reached.";
            return Err(refuse(Code::RulesPerSecurityGroupLimitExceeded, message));
        }
    }
    Ok(())
}

/// Gives rules other descriptions; all of them are there, or none changes.
pub fn describe(
    tx: &mut Tx<Tenant>,
    mut group: SecurityGroup,
    egress: bool,
    permissions: Vec<ec2::IpPermission>,
    descriptions: Vec<ec2::SecurityGroupRuleDescription>,
) -> Result<()> {
    refuse_both(
        (!descriptions.is_empty(), "SecurityGroupRuleDescription"),
        (!permissions.is_empty(), "IpPermissions"),
    )?;
    let drafts = if descriptions.is_empty() { drafts(tx, &group, permissions, Flat::default())? } else { Vec::new() };
    for ec2::SecurityGroupRuleDescription { security_group_rule_id, description } in descriptions {
        let id: RuleId = security_group_rule_id.ok_or_else(|| missing("SecurityGroupRuleId"))?.parse()?;
        let rule = group.rules.iter_mut().find(|r| r.egress == egress && r.id == id);
        rule.ok_or_else(|| no_such_rule(&id))?.description = described(description)?;
    }
    for Draft { traffic, peer, description } in drafts {
        let rule = group.rules.iter_mut().find(|r| r.egress == egress && r.traffic == traffic && r.peer == peer);
        rule.ok_or_else(no_such_permission)?.description = description;
    }
    tx.put(group);
    Ok(())
}

pub fn no_such_rule(id: &RuleId) -> Error {
    let message = format!("The security group rule ID '{id}' does not exist");
    awan_state::Missing { code: "InvalidSecurityGroupRuleId.NotFound", message }.into()
}

fn no_such_permission() -> Error {
    refuse(Code::InvalidPermissionNotFound, "The specified rule does not exist in this security group.")
}

/// `peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW`, as EC2 words a rule.
pub fn words(rule: &Rule) -> String {
    let (protocol, from, to) = wire_traffic(rule.traffic);
    let peer = match &rule.peer {
        Peer::Ipv4(net) => net.to_string(),
        Peer::Ipv6(net) => net.to_string(),
        Peer::Group(id) => id.to_string(),
        Peer::Beyond(beyond) => beyond.group.to_string(),
        Peer::PrefixList(id) => id.to_string(),
    };
    let ports = match (from, to) {
        (Some(from), Some(to)) => format!(", from port: {from}, to port: {to}"),
        _ => String::new(),
    };
    let protocol = if protocol == "-1" { "ALL".to_owned() } else { protocol.to_uppercase() };
    format!("peer: {peer}, {protocol}{ports}, ALLOW")
}

/// The rules of a request that names rules by their ids or by what they say, not both.
pub fn revoked_drafts(
    tx: &mut Tx<Tenant>,
    group: &SecurityGroup,
    ids: &[String],
    permissions: Vec<ec2::IpPermission>,
    flat: Flat,
) -> Result<Vec<Draft>> {
    if ids.is_empty() {
        return drafts(tx, group, permissions, flat);
    }
    let said = !permissions.is_empty() || !flat.is_empty();
    refuse_both((true, "SecurityGroupRuleId"), (said, "IpPermissions"))?;
    Ok(Vec::new())
}

/// Removes rules by id or by what they say; all of them are there, or none is removed. In the default VPC, what no rule
/// says is told and is no mistake. Source: the API reference of RevokeSecurityGroupIngress.
pub fn revoke(
    tx: &mut Tx<Tenant>,
    mut group: SecurityGroup,
    egress: bool,
    ids: &[String],
    drafts: Vec<Draft>,
) -> Result<(Vec<ec2::RevokedSecurityGroupRule>, Vec<ec2::IpPermission>)> {
    let lenient = tx.find::<Vpc>(&group.vpc).is_some_and(|vpc| vpc.is_default);
    let mut unknown = SecurityGroup { rules: Vec::new(), ..group.clone() };
    let mut gone = Vec::new();
    let mut take = |group: &mut SecurityGroup, is: &dyn Fn(&Rule) -> bool| {
        let at = group.rules.iter().position(|r| r.egress == egress && is(r))?;
        gone.push(group.rules.remove(at));
        Some(())
    };
    for id in ids {
        let id: RuleId = id.parse()?;
        take(&mut group, &|r| r.id == id).ok_or_else(|| no_such_rule(&id))?;
    }
    for Draft { traffic, peer, description } in drafts {
        if take(&mut group, &|r| r.traffic == traffic && r.peer == peer).is_none() {
            if !lenient {
                return Err(no_such_permission());
            }
            let id = RuleId::made(tx.new_id(RuleId::PREFIX));
            unknown.rules.push(Rule { id, egress, traffic, peer, description });
        }
    }
    for rule in &gone {
        tx.remove::<Tags>(&rule.id.to_string());
    }
    let shown = gone.iter().map(|rule| revoked(&group, rule)).collect();
    let states = beyond::states(tx, &unknown.rules);
    let unknown = permissions(&unknown, egress, &states);
    tx.put(group);
    Ok((shown, unknown))
}

/// Protocol, from, to, as EC2 writes them.
pub fn wire_traffic(traffic: Traffic) -> (String, Option<i32>, Option<i32>) {
    let any = |n: Option<u8>| Some(n.map_or(-1, i32::from));
    match traffic {
        Traffic::All => ("-1".into(), None, None),
        Traffic::Tcp { from, to } => ("tcp".into(), Some(from.into()), Some(to.into())),
        Traffic::Udp { from, to } => ("udp".into(), Some(from.into()), Some(to.into())),
        Traffic::Icmp { kind, code } => ("icmp".into(), any(kind), any(code)),
        Traffic::Icmpv6 { kind, code } => ("icmpv6".into(), any(kind), any(code)),
        Traffic::Protocol(n) => (n.to_string(), None, None),
    }
}

pub fn shown(group: &SecurityGroup, rule: &Rule, states: &States, tags: Vec<ec2::Tag>) -> ec2::SecurityGroupRule {
    let (protocol, from, to) = wire_traffic(rule.traffic);
    let (account, region) = (group.home.account(), group.home.region());
    let referenced = match &rule.peer {
        Peer::Group(id) => Some(ec2::ReferencedSecurityGroup {
            group_id: Some(id.to_string()),
            user_id: Some(account.into()),
            vpc_id: Some(group.vpc.to_string()),
            ..Default::default()
        }),
        Peer::Beyond(beyond) => Some(beyond::referenced(beyond, states)),
        Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => None,
    };
    ec2::SecurityGroupRule {
        security_group_rule_id: Some(rule.id.to_string()),
        group_id: Some(group.id.to_string()),
        group_owner_id: Some(account.into()),
        is_egress: Some(rule.egress),
        ip_protocol: Some(protocol),
        from_port: Some(from.unwrap_or(-1)),
        to_port: Some(to.unwrap_or(-1)),
        cidr_ipv4: if let Peer::Ipv4(net) = &rule.peer { Some(net.to_string()) } else { None },
        cidr_ipv6: if let Peer::Ipv6(net) = &rule.peer { Some(net.to_string()) } else { None },
        prefix_list_id: if let Peer::PrefixList(id) = &rule.peer { Some(id.to_string()) } else { None },
        referenced_group_info: referenced,
        description: rule.description.clone(),
        tags,
        security_group_rule_arn: Some(format!("arn:aws:ec2:{region}:{account}:security-group-rule/{}", rule.id)),
    }
}

fn revoked(group: &SecurityGroup, rule: &Rule) -> ec2::RevokedSecurityGroupRule {
    let ec2::SecurityGroupRule {
        security_group_rule_id,
        group_id,
        is_egress,
        ip_protocol,
        from_port,
        to_port,
        cidr_ipv4,
        cidr_ipv6,
        prefix_list_id,
        description,
        referenced_group_info,
        ..
    } = shown(group, rule, &States::new(), Vec::new());
    let referenced_group_id = referenced_group_info.and_then(|info| info.group_id);
    ec2::RevokedSecurityGroupRule {
        security_group_rule_id,
        group_id,
        is_egress,
        ip_protocol,
        from_port,
        to_port,
        cidr_ipv4,
        cidr_ipv6,
        prefix_list_id,
        referenced_group_id,
        description,
    }
}

/// Rules as permissions: those for the same traffic together, as EC2 shows them.
pub fn permissions(group: &SecurityGroup, egress: bool, states: &States) -> Vec<ec2::IpPermission> {
    let mut by_traffic: std::collections::BTreeMap<Traffic, ec2::IpPermission> = std::collections::BTreeMap::new();
    for rule in group.rules.iter().filter(|r| r.egress == egress) {
        let permission = by_traffic.entry(rule.traffic).or_insert_with(|| {
            let (protocol, from_port, to_port) = wire_traffic(rule.traffic);
            ec2::IpPermission { ip_protocol: Some(protocol), from_port, to_port, ..Default::default() }
        });
        let description = rule.description.clone();
        match &rule.peer {
            Peer::Ipv4(net) => permission.ip_ranges.push(ec2::IpRange { description, cidr_ip: Some(net.to_string()) }),
            Peer::Ipv6(net) => {
                permission.ipv6_ranges.push(ec2::Ipv6Range { description, cidr_ipv6: Some(net.to_string()) });
            }
            Peer::PrefixList(id) => {
                permission
                    .prefix_list_ids
                    .push(ec2::PrefixListId { description, prefix_list_id: Some(id.to_string()) });
            }
            Peer::Group(id) => permission.user_id_group_pairs.push(ec2::UserIdGroupPair {
                description,
                user_id: Some(group.home.account().into()),
                group_id: Some(id.to_string()),
                ..Default::default()
            }),
            Peer::Beyond(there) => {
                let pair = ec2::UserIdGroupPair { description, ..beyond::pair(there, states) };
                permission.user_id_group_pairs.push(pair);
            }
        }
    }
    by_traffic.into_values().collect()
}
