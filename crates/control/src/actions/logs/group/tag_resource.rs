//! TagResource: of log groups.

use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::Result;
use crate::logs::{by_arn, tag};

pub fn tag_resource(tx: &mut Tx<Tenant>, req: logs::TagResourceRequest) -> Result<()> {
    let logs::TagResourceRequest { resource_arn, tags } = req;
    let mut group = (*by_arn(tx, resource_arn.as_deref().unwrap_or_default())?).clone();
    tag(&mut group.tags, tags.unwrap_or_default())?;
    tx.put(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tags_are_added_shown_and_taken_away() {
        let mut cloud = Cloud::new();
        let make = r#"{"logGroupName":"a","tags":{"k":"v"}}"#;
        cloud.tenant("acme").logs("CreateLogGroup", make).expect("makes");
        let about = format!(r#""resourceArn":"arn:aws:logs:us-east-1:{}:log-group:a""#, cloud.tenant("acme").account());
        let mut call = |action: &str, more: &str| cloud.tenant("acme").logs(action, &format!("{{{about}{more}}}"));
        call("TagResource", r#","tags":{"k":"w","l":"a \"b\""}"#).expect_err("no quotes");
        call("TagResource", r#","tags":{"k":"w","l":""}"#).expect("adds");
        assert_eq!(call("ListTagsForResource", "").expect("lists"), r#"{"tags":{"k":"w","l":""}}"#);
        call("UntagResource", r#","tagKeys":["k","x"]"#).expect("removes");
        assert_eq!(call("ListTagsForResource", "").expect("lists"), r#"{"tags":{"l":""}}"#);
        let many: Vec<_> = (0..50).map(|n| format!(r#""{n}":"""#)).collect();
        let refusal = call("TagResource", &format!(r#","tags":{{{}}}"#, many.join(","))).expect_err("too many");
        assert!(refusal.starts_with("TooManyTagsException"), "{refusal}");
    }
}
