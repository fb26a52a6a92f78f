//! Requests to the services that EC2's tools call besides: IAM, STS, Systems Manager's parameters.

use super::{Recipe, Teller};

const NAME: (&str, &str) = ("Name", "/fuzz/a|/fuzz/b|c|/aws/service/awan/tiny/latest/image_id");
const NAMES: (&str, &str) = ("Names", r#"["/fuzz/a","c"]|["x"]|[]"#);
const PARAMETER: [(&str, &str); 2] = [("ResourceType", "Parameter"), ("ResourceId", "/fuzz/a|/fuzz/b|c")];

pub const RECIPES: &[Recipe] = &[
    ("AddTagsToResource", &[PARAMETER[0], PARAMETER[1], ("Tags", r#"[{"Key":"a","Value":"1"}]"#)], &[]),
    ("DeleteParameter", &[NAME], &[]),
    ("DeleteParameters", &[NAMES], &[]),
    (
        "DescribeParameters",
        &[],
        &[
            ("ParameterFilters", r#"[{"Key":"Type","Values":["String"]}]"#),
            ("MaxResults", "1|50|51"),
            ("Shared", "true"),
        ],
    ),
    ("GetParameter", &[NAME], &[("WithDecryption", "true|false")]),
    ("GetParameters", &[NAMES], &[]),
    (
        "GetParametersByPath",
        &[("Path", "/|/fuzz|/aws/service|x")],
        &[("Recursive", "true|false"), ("MaxResults", "1|10|11")],
    ),
    ("ListTagsForResource", &PARAMETER, &[]),
    (
        "PutParameter",
        &[NAME, ("Value", "text|ami-51a7ed00000000000"), ("Type", "String|StringList|SecureString")],
        &[("Overwrite", "true|false"), ("DataType", "text|aws:ec2:image|x"), ("Tier", "Standard|Advanced|x")],
    ),
    ("RemoveTagsFromResource", &[PARAMETER[0], PARAMETER[1], ("TagKeys", r#"["a"]"#)], &[]),
];

/// Those of other services than EC2 have none anyway.
pub const WET: &[&str] = &[];

pub fn story(teller: &mut dyn Teller) {
    let about = r#""ResourceType":"Parameter","ResourceId":"story""#;
    teller.ask("PutParameter", r#"{"Name":"story","Value":"1","Type":"String"}"#);
    teller.ask("AddTagsToResource", &format!(r#"{{{about},"Tags":[{{"Key":"a","Value":"b"}}]}}"#));
    teller.ask("ListTagsForResource", &format!("{{{about}}}"));
    teller.ask("RemoveTagsFromResource", &format!(r#"{{{about},"TagKeys":["a"]}}"#));
    teller.ask("DeleteParameter", r#"{"Name":"story"}"#);
}
