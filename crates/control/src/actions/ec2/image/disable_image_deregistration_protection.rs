//! DisableImageDeregistrationProtection: at once, or a day later where the protection had a cooldown.

use awan_model::image::{Details, Image, Protection};
use awan_state::Millis;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::sharing;

const COOLDOWN_MS: Millis = 24 * 3_600_000;

pub fn disable_image_deregistration_protection(
    tx: &mut Tx<Tenant>,
    req: ec2::DisableImageDeregistrationProtectionRequest,
) -> Result<ec2::DisableImageDeregistrationProtectionResult> {
    let ec2::DisableImageDeregistrationProtectionRequest { image_id, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let protection = match image.details.protection {
        Protection::Off | Protection::On => Protection::Off,
        Protection::OnWithCooldown => Protection::Cooling(tx.now() + COOLDOWN_MS),
        Protection::Cooling(until) => Protection::Cooling(until),
    };
    let details = Details { protection, ..image.details.clone() };
    tx.put(Image { details, ..(*image).clone() });
    Ok(ec2::DisableImageDeregistrationProtectionResult { r#return: Some("true".into()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn without_a_cooldown_it_is_off_at_once() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        let ask = [("ImageId", image.as_str())];
        cloud.tenant("acme").call("EnableImageDeregistrationProtection", &ask).expect("protects");
        cloud.tenant("acme").call("DisableImageDeregistrationProtection", &ask).expect("takes it off");
        cloud.tenant("acme").call("DeregisterImage", &ask).expect("goes");
        let refusal = cloud
            .tenant("acme")
            .call("DisableImageDeregistrationProtection", &[("ImageId", &builtin)])
            .expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
