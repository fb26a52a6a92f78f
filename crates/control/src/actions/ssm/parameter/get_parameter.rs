//! GetParameter: the latest version, or the one that the name ends with.

use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::{find, shown};

pub fn get_parameter(tx: &mut Tx<Tenant>, req: ssm::GetParameterRequest) -> Result<ssm::GetParameterResult> {
    // Nothing is encrypted, so there is nothing to decrypt.
    let ssm::GetParameterRequest { name, with_decryption: _ } = req;
    let found = find(tx, &name.unwrap_or_default())?;
    Ok(ssm::GetParameterResult { parameter: Some(shown(&found)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn any_version_that_is_kept_and_nobody_elses() {
        let mut cloud = Cloud::new();
        for (name, value) in [("/a/b", "1"), ("/a/b", "2")] {
            let body = format!(r#"{{"Name":"{name}","Type":"String","Value":"{value}","Overwrite":true}}"#);
            cloud.tenant("acme").ssm("PutParameter", &body).expect("puts");
        }
        let mut get = |name: &str| cloud.tenant("acme").ssm("GetParameter", &format!(r#"{{"Name":"{name}"}}"#));
        let latest = get("/a/b").expect("is there");
        for part in [
            r#""Name":"/a/b""#,
            r#""Value":"2""#,
            r#""Version":2"#,
            r#""LastModifiedDate":1795521600.000"#,
            ":parameter/a/b\"",
        ] {
            assert!(latest.contains(part), "{latest}");
        }
        let first = get("/a/b:1").expect("is kept");
        assert!(first.contains(r#""Value":"1""#) && first.contains(r#""Selector":":1""#), "{first}");
        assert!(get("/a/b:3").expect_err("is not yet").starts_with("ParameterVersionNotFound"));
        let absent = get("/a/c").expect_err("is not there").replace("/a/c", "");
        let foreign = cloud.tenant("other").ssm("GetParameter", r#"{"Name":"/a/b"}"#).expect_err("is not theirs");
        assert_eq!(foreign.replace("/a/b", ""), absent);
        let public = r#"{"Name":"/aws/service/awan/tiny/latest/image_id"}"#;
        let image = cloud.tenant("other").ssm("GetParameter", public).expect("is everybody's");
        assert!(image.contains(r#""Value":"ami-0123456789abcdef0""#), "{image}");
    }
}
