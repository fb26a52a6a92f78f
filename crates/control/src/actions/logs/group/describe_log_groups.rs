//! DescribeLogGroups: in the order of their names. How many bytes hosts keep of each is not told.

use awan_model::log_group::LogGroup;
use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::describe::Page;
use crate::error::{Result, refuse_if};
use crate::logs::{arn, by_arn, by_name, invalid, limit};

const LIMIT_MAX: i32 = 50;

pub fn describe_log_groups(
    tx: &mut Tx<Tenant>,
    req: logs::DescribeLogGroupsRequest,
) -> Result<logs::DescribeLogGroupsResponse> {
    let logs::DescribeLogGroupsRequest {
        account_identifiers,
        log_group_name_prefix: prefix,
        log_group_name_pattern: pattern,
        next_token,
        limit: asked,
        // No account is linked to another.
        include_linked_accounts: _,
        log_group_class,
        log_group_identifiers,
    } = req;
    refuse_if(!account_identifiers.is_empty(), "accountIdentifiers")?;
    if prefix.is_some() && pattern.is_some() {
        return Err(invalid("logGroupNamePrefix and logGroupNamePattern cannot be used together."));
    }
    let of_class = match log_group_class.as_deref() {
        None | Some("STANDARD") => true,
        Some("INFREQUENT_ACCESS" | "DELIVERY" | "ESSENTIALS") => false,
        Some(_) => return Err(invalid("The logGroupClass is none.")),
    };
    if log_group_identifiers.len() > 50 {
        return Err(invalid("A request names at most 50 log groups."));
    }
    let most = i32::try_from(limit(asked, LIMIT_MAX)?).ok();
    let page = Page::new(tx, "DescribeLogGroups", (most, next_token.as_deref()), (1, LIMIT_MAX), false)?;
    let all = if log_group_identifiers.is_empty() {
        tx.list::<LogGroup>()
    } else {
        let mut named = Vec::new();
        for one in &log_group_identifiers {
            named.extend(if one.starts_with("arn:") { by_arn(tx, one) } else { by_name(tx, one) }.ok());
        }
        named
    };
    let wanted = all.into_iter().filter(|group| {
        of_class
            && prefix.as_ref().is_none_or(|prefix| group.name.starts_with(prefix))
            && pattern.as_ref().is_none_or(|part| group.name.contains(part))
    });
    let (groups, next_token) = page.cut(wanted.collect(), |group| group.name.clone());
    let log_groups = groups.iter().map(|group| shown(group)).collect();
    Ok(logs::DescribeLogGroupsResponse { log_groups, next_token })
}

fn shown(group: &LogGroup) -> logs::LogGroup {
    let arn = arn(&group.home, &group.name);
    logs::LogGroup {
        log_group_name: Some(group.name.clone()),
        creation_time: i64::try_from(group.created).ok(),
        retention_in_days: group.retention_days.map(i32::from),
        metric_filter_count: Some(0),
        arn: Some(format!("{arn}:*")),
        log_group_class: Some("STANDARD".into()),
        log_group_arn: Some(arn),
        deletion_protection_enabled: Some(false),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn groups_are_found_by_name_and_page_by_page() {
        let mut cloud = Cloud::new();
        for name in ["/a/1", "/a/2", "B", "/a-"] {
            let ask = format!(r#"{{"logGroupName":"{name}"}}"#);
            cloud.tenant("acme").logs("CreateLogGroup", &ask).expect("makes");
        }
        let own = cloud.tenant("acme").account();
        let names = |told: &str| {
            let names = told.split("\"logGroupName\":\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        let by_arn = format!(r#""logGroupIdentifiers":["arn:aws:logs:us-east-1:{own}:log-group:/a/2","B","x"]"#);
        for (ask, expected) in [
            ("", "/a- /a/1 /a/2 B"),
            (r#""logGroupNamePrefix":"/a/""#, "/a/1 /a/2"),
            (r#""logGroupNamePattern":"a-""#, "/a-"),
            (r#""logGroupClass":"DELIVERY""#, ""),
            (r#""logGroupClass":"STANDARD","includeLinkedAccounts":true"#, "/a- /a/1 /a/2 B"),
            (by_arn.as_str(), "/a/2 B"),
        ] {
            let told = cloud.tenant("acme").logs("DescribeLogGroups", &format!("{{{ask}}}")).expect("answers");
            assert_eq!(names(&told), expected, "{ask}");
        }
        let first = cloud.tenant("acme").logs("DescribeLogGroups", r#"{"limit":3}"#).expect("answers");
        let token = first.split("\"nextToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
        let next = format!(r#"{{"limit":3,"nextToken":"{token}"}}"#);
        let told = cloud.tenant("acme").logs("DescribeLogGroups", &next).expect("answers");
        assert_eq!((names(&first).as_str(), names(&told).as_str()), ("/a- /a/1 /a/2", "B"));
        assert!(told.contains(&format!(r#""arn":"arn:aws:logs:us-east-1:{own}:log-group:B:*""#)), "{told}");
        let refusal = cloud.tenant("other").logs("DescribeLogGroups", &next).expect_err("another's token");
        assert!(refusal.starts_with("InvalidNextToken"), "{refusal}");
        assert_eq!(cloud.tenant("other").logs("DescribeLogGroups", "{}").expect("answers"), r#"{"logGroups":[]}"#);
        for ask in [r#""limit":0"#, r#""limit":51"#, r#""logGroupNamePrefix":"a","logGroupNamePattern":"a""#] {
            let refusal = cloud.tenant("acme").logs("DescribeLogGroups", &format!("{{{ask}}}")).expect_err(ask);
            assert!(refusal.starts_with("InvalidParameterException"), "{refusal}");
        }
    }
}
