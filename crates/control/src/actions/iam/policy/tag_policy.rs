//! TagPolicy: new tags, or new values of old ones.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, managed};

pub fn tag_policy(tx: &mut Tx<Tenant>, req: iam::TagPolicyRequest) -> Result<()> {
    let iam::TagPolicyRequest { policy_arn, tags } = req;
    let one = managed::own(tx, &policy_arn.unwrap_or_default())?;
    identity::tag_one(tx, one, &tags)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tags_are_kept_once_whatever_their_case() {
        let mut cloud = Cloud::new();
        let policy = [
            ("PolicyName", "x"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let told = cloud.tenant("acme").iam("CreatePolicy", &policy).expect("creates");
        let id = Cloud::ids(&told, "Arn").remove(0);
        let mut tag = |key: &str, value: &str| {
            let ask = [("PolicyArn", id.as_str()), ("Tags.member.1.Key", key), ("Tags.member.1.Value", value)];
            cloud.tenant("acme").iam("TagPolicy", &ask)
        };
        for (key, value) in [("a", "1"), ("b", "2"), ("A", "3")] {
            tag(key, value).expect("tags");
        }
        assert!(tag("aws:x", "1").expect_err("is reserved").starts_with("ValidationError"));
        let list = |cloud: &mut Cloud| {
            let told = cloud.tenant("acme").iam("ListPolicyTags", &[("PolicyArn", &id)]).expect("lists");
            (Cloud::ids(&told, "Key").join(" "), Cloud::ids(&told, "Value").join(" "))
        };
        assert_eq!(list(&mut cloud), ("A b".to_owned(), "3 2".to_owned()));
        let untag = [("PolicyArn", id.as_str()), ("TagKeys.member.1", "a"), ("TagKeys.member.2", "c")];
        cloud.tenant("acme").iam("UntagPolicy", &untag).expect("untags");
        assert_eq!(list(&mut cloud).0, "b");
        let foreign = cloud.tenant("other").iam("UntagPolicy", &untag).expect_err("is not theirs");
        assert!(foreign.starts_with("NoSuchEntity"), "{foreign}");
    }
}
