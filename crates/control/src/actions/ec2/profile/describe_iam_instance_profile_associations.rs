//! DescribeIamInstanceProfileAssociations.

use awan_model::profile::ProfileAssociation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associations::shown;
use crate::describe::{Filters, Page};
use crate::error::Result;

const FILTERS: &[&str] = &["instance-id", "state"];

pub fn describe_iam_instance_profile_associations(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeIamInstanceProfileAssociationsRequest,
) -> Result<ec2::DescribeIamInstanceProfileAssociationsResult> {
    let ec2::DescribeIamInstanceProfileAssociationsRequest { association_ids, filters, max_results, next_token } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let (action, named) = ("DescribeIamInstanceProfileAssociations", !association_ids.is_empty());
    let page = Page::new(tx, action, (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &association_ids {
        found.push(tx.get::<ProfileAssociation>(&id.parse()?)?);
    }
    if !named {
        found = page.candidates(tx, !filters.is_empty());
    }
    found.retain(|association| {
        filters.match_all(|name| match name {
            "instance-id" => vec![association.instance.to_string()],
            _ => vec!["associated".to_owned()],
        })
    });
    let (found, next_token) = page.cut(found, |association| association.id.clone());
    let iam_instance_profile_associations = found.iter().map(|a| shown(a, "associated")).collect();
    Ok(ec2::DescribeIamInstanceProfileAssociationsResult { iam_instance_profile_associations, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_id_by_instance_and_in_pages() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateInstanceProfile", &[("InstanceProfileName", "p")]).expect("creates");
        let launch = [("IamInstanceProfile.Name", "p"), ("MinCount", "6"), ("MaxCount", "6")];
        let ids = acme.run_with(&launch).expect("launches");
        let mut ask = |parameters: &[(&str, &str)]| {
            let told = acme.call("DescribeIamInstanceProfileAssociations", parameters).expect("answers");
            (Cloud::ids(&told, "associationId"), Cloud::ids(&told, "nextToken"))
        };
        let (first, token) = ask(&[("MaxResults", "5")]);
        let (rest, none) = ask(&[("NextToken", &token[0])]);
        assert_eq!((first.len(), rest.len(), none.len()), (5, 1, 0));
        let by_instance = ask(&[("Filter.1.Name", "instance-id"), ("Filter.1.Value.1", &ids[3])]).0;
        assert_eq!(ask(&[("AssociationId.1", &by_instance[0])]).0, by_instance);
        let all = cloud.tenant("other").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        assert_eq!(Cloud::ids(&all, "associationId").len(), 0);
        let ask = [("AssociationId.1", by_instance[0].as_str())];
        let foreign =
            cloud.tenant("other").call("DescribeIamInstanceProfileAssociations", &ask).expect_err("not theirs");
        assert!(foreign.starts_with("NoSuchAssociation"), "{foreign}");
    }
}
