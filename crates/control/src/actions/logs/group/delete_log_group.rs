//! DeleteLogGroup: with it go its events. Flow logs that write there have nowhere to write until there is one of its
//! name again.

use awan_model::log_group::LogGroup;
use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::Result;
use crate::logs::by_name;

pub fn delete_log_group(tx: &mut Tx<Tenant>, req: logs::DeleteLogGroupRequest) -> Result<()> {
    let logs::DeleteLogGroupRequest { log_group_name } = req;
    let group = by_name(tx, log_group_name.as_deref().unwrap_or_default())?;
    tx.remove::<LogGroup>(&group.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_model::log_group::Events;
    use awan_model::report::{Answer, Ask};

    use crate::testing::Cloud;

    #[test]
    fn a_group_of_the_same_name_reads_nothing_of_the_one_before() {
        let mut cloud = Cloud::new();
        let (ids, seen) = std::sync::mpsc::channel();
        let told = cloud.answering(move |ask| match ask {
            Ask::LogEvents { group, .. } => {
                ids.send(group).expect("is heard");
                Answer::LogEvents(Events::default())
            }
            _ => Answer::Done,
        });
        let ask = r#"{"logGroupName":"a"}"#;
        for _ in 0..2 {
            cloud.tenant("acme").logs("CreateLogGroup", ask).expect("makes");
            cloud.tenant("acme").logs("FilterLogEvents", ask).expect("reads");
            let refusal = cloud.tenant("other").logs("DeleteLogGroup", ask).expect_err("foreign");
            assert_eq!(refusal, "ResourceNotFoundException: The specified log group does not exist.");
            cloud.tenant("acme").logs("DeleteLogGroup", ask).expect("deletes");
            let refusal = cloud.tenant("acme").logs("FilterLogEvents", ask).expect_err("gone");
            assert_eq!(refusal, "ResourceNotFoundException: The specified log group does not exist.");
        }
        let ids: Vec<_> = seen.try_iter().collect();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
        told.abort();
        cloud.audit();
    }
}
