//! The data of launch templates: a tree under the API's names. So it keeps every member that EC2 has, is shown as the
//! answer's types, launches as the request's, and is laid over by another, without a list of members here.

use awan_wire::ec2;
use awan_wire::json;
use awan_wire::shape::Shape;
use serde_json::{Map, Value};

use crate::error::{Code, Error, Result, combination, invalid_value, missing, refuse};

pub type Data = Map<String, Value>;

/// Lists whose members are known by a key; the same key again takes the earlier one's place.
const KEYED: [(&str, &str); 3] = [
    ("BlockDeviceMappings", "DeviceName"),
    ("NetworkInterfaces", "DeviceIndex"),
    ("TagSpecifications", "ResourceType"),
];
/// Names that differ between a template and a request to launch.
const RENAMED: [(&str, &str); 2] =
    [("ElasticGpuSpecifications", "ElasticGpuSpecification"), ("RamDiskId", "RamdiskId")];
/// Source: "CreateLaunchTemplate", EC2 API reference, and the quotas for user data.
const DATA_MAX: usize = 64 * 1024;

/// What a request says, without what it leaves out.
pub fn of(shape: &mut dyn Shape) -> Result<Data> {
    let mut value = parse(&json::write(shape))?;
    value.values_mut().for_each(prune);
    value.retain(|_, v| !is_empty(v));
    Ok(value)
}

/// The data of a new version.
pub fn checked(data: ec2::RequestLaunchTemplateData) -> Result<Data> {
    if let Some(text) = &data.user_data {
        crate::actions::ec2::instance::run_instances::decode_user_data(text)?;
    }
    if data.instance_type.is_some() && data.instance_requirements.is_some() {
        return Err(combination("InstanceType and InstanceRequirements may not be specified together"));
    }
    if let Some(behavior) = data.instance_initiated_shutdown_behavior.as_deref()
        && !["stop", "terminate"].contains(&behavior)
    {
        let shown: String = behavior.chars().take(64).collect();
        return Err(invalid_value(shown.escape_debug(), "InstanceInitiatedShutdownBehavior"));
    }
    let data = of(&mut { data })?;
    if data.is_empty() {
        return Err(missing("LaunchTemplateData"));
    }
    Ok(data)
}

pub fn text(data: Data) -> Result<String> {
    let text = Value::Object(data).to_string();
    if text.len() > DATA_MAX {
        return Err(refuse(Code::InvalidParameterValue, "The launch template data is too large"));
    }
    Ok(text)
}

pub fn parse(text: &str) -> Result<Data> {
    serde_json::from_str(text).map_err(Error::fault)
}

/// As an answer shows it.
pub fn shown(data: &str) -> Result<ec2::ResponseLaunchTemplateData> {
    Ok(json::read(data)?)
}

pub fn request(data: &str) -> Result<ec2::RequestLaunchTemplateData> {
    Ok(json::read(data)?)
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(prune);
            members.retain(|_, v| !is_empty(v));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// A new version on the base of another: a parameter that is given takes the place of the whole inherited one.
/// Snapshots of inherited block devices are not inherited (CreateLaunchTemplateVersion, EC2 API reference).
pub fn inherit(mut source: Data, new: Data) -> Data {
    let mappings = source.get_mut("BlockDeviceMappings").and_then(Value::as_array_mut);
    for mapping in mappings.into_iter().flatten() {
        if let Some(ebs) = mapping.get_mut("Ebs").and_then(Value::as_object_mut) {
            ebs.remove("SnapshotId");
        }
    }
    source.extend(new);
    source
}

/// Lays what a request says over what a template says: values take the place of values, members of structures and of
/// keyed lists that of their likes.
pub fn overlay(under: &mut Data, over: Data) {
    if over.contains_key("SecurityGroupIds") || over.contains_key("SecurityGroups") {
        under.remove("SecurityGroupIds");
        under.remove("SecurityGroups");
    }
    if over.contains_key("InstanceType") {
        under.remove("InstanceRequirements");
    }
    for (name, value) in over {
        let key = KEYED.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
        match (under.get_mut(&name), value, key) {
            (Some(Value::Array(old)), Value::Array(new), Some(key)) => {
                // What names no device index is the first device.
                let of = |item: &Value| item.get(key).cloned().unwrap_or_else(|| Value::from(0));
                old.retain(|item| !new.iter().any(|other| of(other) == of(item)));
                old.extend(new);
            }
            (Some(Value::Object(old)), Value::Object(new), _) => overlay(old, new),
            (_, value, _) => {
                under.insert(name, value);
            }
        }
    }
}

/// A request to launch, from a template's data.
pub fn launch(mut data: Data) -> Result<ec2::RunInstancesRequest> {
    for (from, to) in RENAMED {
        if let Some(value) = data.remove(from) {
            data.insert(to.into(), value);
        }
    }
    // Where nothing asks for spot capacity there is no such request to tag.
    if let Some(specs) = data.get_mut("TagSpecifications").and_then(Value::as_array_mut) {
        specs.retain(|spec| spec.get("ResourceType").and_then(Value::as_str) != Some("spot-instances-request"));
    }
    if data.contains_key("InstanceRequirements") {
        let message = "A launch template with InstanceRequirements can be used with EC2 Fleet only";
        return Err(combination(message));
    }
    for count in ["MinCount", "MaxCount"] {
        data.entry(count).or_insert_with(|| Value::from(1));
    }
    Ok(json::read(&Value::Object(data).to_string())?)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::check;

    fn data(text: &str) -> Data {
        parse(text).expect(text)
    }

    #[test]
    fn values_take_the_place_of_values_and_keyed_members_that_of_their_likes() {
        let mut under = data(
            r#"{"ImageId":"ami-1","Placement":{"AvailabilityZone":"a","Tenancy":"default"},"SecurityGroups":["x"],
            "BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"VolumeSize":8}},{"DeviceName":"/dev/sdb"}],
            "NetworkInterfaces":[{"Description":"first"},{"DeviceIndex":1}]}"#,
        );
        let over = r#"{"ImageId":"ami-2","Placement":{"AvailabilityZone":"b"},"SecurityGroupIds":["sg-1"],
            "BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"VolumeType":"gp3"}}],
            "NetworkInterfaces":[{"DeviceIndex":0,"SubnetId":"subnet-1"}]}"#;
        overlay(&mut under, data(over));
        check(
            &serde_json::to_string_pretty(&under).expect("plain"),
            expect![[r#"
            {
              "BlockDeviceMappings": [
                {
                  "DeviceName": "/dev/sdb"
                },
                {
                  "DeviceName": "/dev/sda1",
                  "Ebs": {
                    "VolumeType": "gp3"
                  }
                }
              ],
              "ImageId": "ami-2",
              "NetworkInterfaces": [
                {
                  "DeviceIndex": 1
                },
                {
                  "DeviceIndex": 0,
                  "SubnetId": "subnet-1"
                }
              ],
              "Placement": {
                "AvailabilityZone": "b",
                "Tenancy": "default"
              },
              "SecurityGroupIds": [
                "sg-1"
              ]
            }"#]],
        );
    }

    #[test]
    fn an_inherited_snapshot_is_left_behind() {
        let source =
            data(r#"{"KeyName":"a","BlockDeviceMappings":[{"DeviceName":"d","Ebs":{"SnapshotId":"snap-1"}}]}"#);
        let made = inherit(source, data(r#"{"KeyName":"b"}"#));
        assert_eq!(made, data(r#"{"KeyName":"b","BlockDeviceMappings":[{"DeviceName":"d","Ebs":{}}]}"#));
    }

    #[test]
    fn what_a_request_has_under_another_name_is_renamed() {
        let request =
            launch(data(r#"{"RamDiskId":"ari-1","ElasticGpuSpecifications":[{"Type":"t"}]}"#)).expect("reads");
        assert_eq!(request.ramdisk_id.as_deref(), Some("ari-1"));
        assert_eq!(request.elastic_gpu_specification.len(), 1);
    }
}
