//! DescribeLaunchTemplates.

use awan_model::launch_template::LaunchTemplate;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::named;
use crate::actions::ec2::instance::view::text_time;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "create-time", "launch-template-name"];

pub fn describe_launch_templates(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeLaunchTemplatesRequest,
) -> Result<ec2::DescribeLaunchTemplatesResult> {
    // No service manages templates here, so there are none to leave out.
    let ec2::DescribeLaunchTemplatesRequest {
        dry_run: _,
        launch_template_ids,
        launch_template_names,
        filters,
        next_token,
        max_results,
        include_managed_resources: _,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !launch_template_ids.is_empty() || !launch_template_names.is_empty();
    let page = Page::new(tx, "DescribeLaunchTemplates", (max_results, next_token.as_deref()), (1, 200), named)?;
    let mut found = Vec::new();
    for id in &launch_template_ids {
        found.push(tx.get::<LaunchTemplate>(&id.parse()?)?);
    }
    for name in &launch_template_names {
        found.push(named::by_name(tx, name)?);
    }
    if !named {
        found = page.candidates::<LaunchTemplate>(tx, !filters.is_empty());
    }
    let mut kept = Vec::new();
    for template in found {
        let tags = tagging::of(tx, template.id.as_str());
        let values = |name: &str| match name {
            "create-time" => text_time(template.created).into_iter().collect(),
            "launch-template-name" => vec![template.name.clone()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push(template);
        }
    }
    let (mut kept, next_token) = page.cut(kept, |template| template.id.clone());
    kept.dedup();
    let launch_templates = kept.iter().map(|template| named::shown(tx, template)).collect();
    Ok(ec2::DescribeLaunchTemplatesResult { launch_templates, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn templates_are_found_by_id_name_and_filter_a_page_at_a_time() {
        let mut cloud = Cloud::new();
        for name in ["web", "data", "work"] {
            let ask = [("LaunchTemplateName", name), ("LaunchTemplateData.KeyName", "k")];
            cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        }
        let mut ask = |who: &str, parameters: &[(&str, &str)]| {
            let shown = cloud.tenant(who).call("DescribeLaunchTemplates", parameters)?;
            Ok::<_, String>((Cloud::ids(&shown, "launchTemplateName"), Cloud::ids(&shown, "nextToken")))
        };
        assert_eq!(ask("acme", &[("LaunchTemplateName.1", "web")]).expect("answers").0, ["web"]);
        let filter = [("Filter.1.Name", "launch-template-name"), ("Filter.1.Value.1", "w*")];
        assert_eq!(ask("acme", &filter).expect("answers").0.len(), 2);
        let (first, token) = ask("acme", &[("MaxResults", "2")]).expect("answers");
        let (rest, _) = ask("acme", &[("MaxResults", "2"), ("NextToken", &token[0])]).expect("answers");
        assert_eq!((first.len(), rest.len()), (2, 1));
        let refusal = ask("other", &[("LaunchTemplateName.1", "web")]).expect_err("not theirs");
        assert!(refusal.starts_with("InvalidLaunchTemplateName.NotFoundException"), "{refusal}");
        let refusal = ask("other", &[("LaunchTemplateId.1", "lt-00000000000000000")]).expect_err("nobody's");
        assert!(refusal.starts_with("InvalidLaunchTemplateId.NotFound"), "{refusal}");
        assert!(ask("acme", &[("LaunchTemplateId.1", "x")]).expect_err("no id").contains("Id.Malformed"));
    }
}
