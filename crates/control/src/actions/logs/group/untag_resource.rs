//! UntagResource: of log groups.

use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::Result;
use crate::logs::by_arn;

pub fn untag_resource(tx: &mut Tx<Tenant>, req: logs::UntagResourceRequest) -> Result<()> {
    let logs::UntagResourceRequest { resource_arn, tag_keys } = req;
    let mut group = (*by_arn(tx, resource_arn.as_deref().unwrap_or_default())?).clone();
    group.tags.retain(|key, _| !tag_keys.contains(key));
    tx.put(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_takes_anothers_tags_away() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a","tags":{"k":"v"}}"#).expect("makes");
        let arn = format!("arn:aws:logs:us-east-1:{}:log-group:a", cloud.tenant("acme").account());
        let ask = format!(r#"{{"resourceArn":"{arn}","tagKeys":["k"]}}"#);
        let refusal = cloud.tenant("other").logs("UntagResource", &ask).expect_err("foreign");
        assert!(refusal.starts_with("ResourceNotFoundException"), "{refusal}");
        let list = format!(r#"{{"resourceArn":"{arn}"}}"#);
        assert_eq!(cloud.tenant("acme").logs("ListTagsForResource", &list).expect("lists"), r#"{"tags":{"k":"v"}}"#);
    }
}
