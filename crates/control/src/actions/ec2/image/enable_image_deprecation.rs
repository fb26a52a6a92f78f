//! EnableImageDeprecation: from a time on, others no longer find it unless they ask for it.

use awan_model::image::{Details, Image};
use awan_state::Millis;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, invalid, missing};
use crate::sharing;

const YEAR_MS: Millis = 365 * 24 * 3_600_000;
const MINUTE_MS: Millis = 60_000;

pub fn enable_image_deprecation(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableImageDeprecationRequest,
) -> Result<ec2::EnableImageDeprecationResult> {
    let ec2::EnableImageDeprecationRequest { image_id, deprecate_at, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let at = deprecate_at.ok_or_else(|| missing("DeprecateAt"))?;
    let now = tx.now();
    // EC2 rounds to the minute. Ten years from now, for public images two years from when they were made.
    let most = if image.public { image.created + 2 * YEAR_MS } else { now + 10 * YEAR_MS };
    let at = Millis::try_from(at.0).unwrap_or(0).div_ceil(MINUTE_MS).saturating_mul(MINUTE_MS);
    if at <= now || at > most.div_ceil(MINUTE_MS) * MINUTE_MS {
        return Err(invalid("The deprecation date is in the past or too far in the future."));
    }
    let details = Details { deprecated: Some(at), ..image.details.clone() };
    tx.put(Image { details, ..(*image).clone() });
    Ok(ec2::EnableImageDeprecationResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deprecated_image_is_found_by_its_owner_and_by_those_who_ask_for_such() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        let other = cloud.tenant("other").account();
        let share = [("ImageId", image.as_str()), ("LaunchPermission.Add.1.UserId", other.as_str())];
        cloud.tenant("acme").call("ModifyImageAttribute", &share).expect("shares");
        let ask = [("ImageId", image.as_str()), ("DeprecateAt", "2026-12-24T10:00:30Z")];
        cloud.tenant("acme").call("EnableImageDeprecation", &ask).expect("deprecates");
        let count = |cloud: &mut Cloud, who: &str, ask: &[(&str, &str)]| {
            let shown = cloud.tenant(who).call("DescribeImages", ask).expect("answers");
            shown.matches("<deprecationTime>2026-12-24T10:01:00.000Z</deprecationTime>").count()
        };
        assert_eq!(count(&mut cloud, "other", &[]), 1);
        cloud.pass(90 * 24 * 3_600_000);
        for (who, ask, expected) in [
            ("acme", vec![], 1),
            ("other", vec![], 0),
            ("other", vec![("IncludeDeprecated", "true")], 1),
            ("other", vec![("ImageId.1", image.as_str())], 1),
        ] {
            assert_eq!(count(&mut cloud, who, &ask), expected, "{who} {ask:?}");
        }
        cloud.tenant("other").run_with(&[("ImageId", &image)]).expect("launches still");
        for at in ["2001-01-01T00:00:00Z", "2066-01-01T00:00:00Z"] {
            let ask = [("ImageId", image.as_str()), ("DeprecateAt", at)];
            let refusal = cloud.tenant("acme").call("EnableImageDeprecation", &ask).expect_err(at);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        cloud.tenant("acme").call("DisableImageDeprecation", &[("ImageId", &image)]).expect("takes it back");
        assert_eq!(count(&mut cloud, "acme", &[]), 0);
        let refusal =
            cloud.tenant("acme").call("DisableImageDeprecation", &[("ImageId", &builtin)]).expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
