//! ListImagesInRecycleBin.

use awan_model::image::Image;
use awan_model::recycle_bin::Binned;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::describe::Page;
use crate::error::{Result, invalid};
use crate::recycle_bin;

/// Source: "ListImagesInRecycleBin", API reference.
const IDS_MAX: usize = 20;

pub fn list_images_in_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::ListImagesInRecycleBinRequest,
) -> Result<ec2::ListImagesInRecycleBinResult> {
    let ec2::ListImagesInRecycleBinRequest { image_ids, next_token, max_results, dry_run: _ } = req;
    if image_ids.len() > IDS_MAX {
        return Err(invalid(format!("A request can name at most {IDS_MAX} images.")));
    }
    let (asked, named) = ((max_results, next_token.as_deref()), !image_ids.is_empty());
    let page = Page::new(tx, "ListImagesInRecycleBin", asked, (1, 1000), named)?;
    let found = recycle_bin::list::<Image>(tx, &image_ids)?;
    let (some, next_token) = page.cut(found, |binned| binned.what.id.clone());
    Ok(ec2::ListImagesInRecycleBinResult { images: some.iter().map(|binned| shown(binned)).collect(), next_token })
}

fn shown(binned: &Binned<Image>) -> ec2::ImageRecycleBinInfo {
    let Binned { what: image, entered, leaves } = binned;
    ec2::ImageRecycleBinInfo {
        image_id: Some(image.id.to_string()),
        name: Some(image.name.clone()),
        description: Some(image.description.clone()),
        recycle_bin_enter_time: time(*entered),
        recycle_bin_exit_time: time(*leaves),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_bin_is_shown_in_pages_and_by_ids_to_whose_it_is() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EC2_IMAGE", 1, "");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (_, image) = cloud.image_of("acme");
            // The name of what is in the bin is free.
            cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &image)]).expect("goes");
            ids.push(image);
        }
        let mut list = |who: &str, ask: &[(&str, &str)]| cloud.tenant(who).call("ListImagesInRecycleBin", ask);
        let one = list("acme", &[("ImageId.1", &ids[1])]).expect("lists");
        assert_eq!(
            (Cloud::ids(&one, "imageId"), Cloud::ids(&one, "name")),
            (vec![ids[1].clone()], vec!["a copy".into()])
        );
        assert_eq!(Cloud::ids(&one, "recycleBinEnterTime"), ["2026-11-24T12:00:00.000Z"]);
        assert_eq!(Cloud::ids(&one, "recycleBinExitTime"), ["2026-11-25T12:00:00.000Z"]);
        let first = list("acme", &[("MaxResults", "1")]).expect("lists");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let rest = list("acme", &[("NextToken", &token)]).expect("lists");
        ids.sort();
        assert_eq!([Cloud::ids(&first, "imageId"), Cloud::ids(&rest, "imageId")].concat(), ids);
        assert!(Cloud::ids(&list("other", &[]).expect("lists"), "imageId").is_empty());
        let refusal = list("other", &[("ImageId.1", &ids[0])]).expect_err("another's");
        assert_eq!(refusal, format!("InvalidAMIID.NotFound: The image '{}' is not in the Recycle Bin.", ids[0]));
        let many: Vec<(String, &str)> = (1..=21).map(|n| (format!("ImageId.{n}"), ids[0].as_str())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        assert!(list("acme", &many).expect_err("too many").starts_with("InvalidParameterValue"));
    }
}
