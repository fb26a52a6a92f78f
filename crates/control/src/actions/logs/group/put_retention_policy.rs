//! PutRetentionPolicy: what is older is not shown any more; its bytes go when their host makes room.

use awan_model::log_group::LogGroup;
use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::Result;
use crate::logs::{by_name, invalid};

/// Source: "PutRetentionPolicy", API reference.
const DAYS: [u16; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub fn put_retention_policy(tx: &mut Tx<Tenant>, req: logs::PutRetentionPolicyRequest) -> Result<()> {
    let logs::PutRetentionPolicyRequest { log_group_name, retention_in_days } = req;
    let days = retention_in_days.and_then(|days| u16::try_from(days).ok()).filter(|days| DAYS.contains(days));
    let days = days.ok_or_else(|| invalid(format!("retentionInDays is one of {DAYS:?}.")))?;
    let group = by_name(tx, log_group_name.as_deref().unwrap_or_default())?;
    tx.put(LogGroup { retention_days: Some(days), ..(*group).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_model::log_group::Events;
    use awan_model::report::{Answer, Ask};

    use crate::testing::Cloud;

    #[test]
    fn what_is_older_is_not_asked_for_until_the_policy_goes() {
        let mut cloud = Cloud::new();
        let (from, asked) = std::sync::mpsc::channel();
        let told = cloud.answering(move |ask| match ask {
            Ask::LogEvents { wanted, .. } => {
                from.send(wanted.from).expect("is heard");
                Answer::LogEvents(Events::default())
            }
            _ => Answer::Done,
        });
        let name = r#"{"logGroupName":"a"}"#;
        cloud.pass(10 * 24 * 60 * 60 * 1_000);
        let now = cloud.control.db.now();
        cloud.tenant("acme").logs("CreateLogGroup", name).expect("makes");
        let put = |cloud: &mut Cloud, days: &str| {
            let ask = format!(r#"{{"logGroupName":"a","retentionInDays":{days}}}"#);
            cloud.tenant("acme").logs("PutRetentionPolicy", &ask)
        };
        for wrong in ["0", "2", "-1", "70000"] {
            assert!(put(&mut cloud, wrong).expect_err(wrong).starts_with("InvalidParameterException"));
        }
        put(&mut cloud, "3").expect("puts");
        let groups = cloud.tenant("acme").logs("DescribeLogGroups", "{}").expect("answers");
        assert!(groups.contains("\"retentionInDays\":3,"), "{groups}");
        cloud.tenant("acme").logs("FilterLogEvents", name).expect("reads");
        cloud.tenant("acme").logs("DeleteRetentionPolicy", name).expect("deletes");
        cloud.tenant("acme").logs("FilterLogEvents", name).expect("reads");
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked, [format!("{:013}", now - 3 * 24 * 60 * 60 * 1_000), format!("{:013}", 0)]);
        told.abort();
    }
}
