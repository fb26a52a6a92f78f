//! EnableImageDeregistrationProtection.

use awan_model::image::{Details, Image, Protection};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::sharing;

pub fn enable_image_deregistration_protection(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableImageDeregistrationProtectionRequest,
) -> Result<ec2::EnableImageDeregistrationProtectionResult> {
    let ec2::EnableImageDeregistrationProtectionRequest { image_id, with_cooldown, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let on = if with_cooldown == Some(true) { Protection::OnWithCooldown } else { Protection::On };
    let details = Details { protection: on, ..image.details.clone() };
    tx.put(Image { details, ..(*image).clone() });
    Ok(ec2::EnableImageDeregistrationProtectionResult { r#return: Some("true".into()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_protected_image_stays_and_for_a_day_more_if_it_was_told_to() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        let ask = [("ImageId", image.as_str()), ("WithCooldown", "true")];
        cloud.tenant("acme").call("EnableImageDeregistrationProtection", &ask).expect("protects");
        let gone = |cloud: &mut Cloud| cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &image)]);
        let refusal = gone(&mut cloud).expect_err("is protected");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        let off = [("ImageId", image.as_str())];
        cloud.tenant("acme").call("DisableImageDeregistrationProtection", &off).expect("takes it off");
        assert!(gone(&mut cloud).is_err());
        cloud.pass(24 * 3_600_000);
        gone(&mut cloud).expect("the day is over");
        let refusal = cloud
            .tenant("acme")
            .call("EnableImageDeregistrationProtection", &[("ImageId", &builtin)])
            .expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
