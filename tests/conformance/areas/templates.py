"""Launch templates, fleets and capacity."""

from . import COUNT, named, under

DATA = {"InstanceType": "t3.nano", "UserData": "aGVsbG8=", "TagSpecifications": named("instance")}
TEMPLATE = "LaunchTemplateId LaunchTemplateName CreateTime CreatedBy DefaultVersionNumber LatestVersionNumber"
VERSION = (
    "LaunchTemplateId LaunchTemplateName VersionNumber CreateTime CreatedBy DefaultVersion LaunchTemplateData.InstanceType "
    "LaunchTemplateData.UserData LaunchTemplateData.TagSpecifications.ResourceType LaunchTemplateData.TagSpecifications.Tags.Key"
)
NUMBER = "LaunchTemplateId LaunchTemplateName VersionNumber"


def new_template(home):
    made = home.ec2.create_launch_template(
        LaunchTemplateName=f"canary-template-{next(COUNT)}",
        LaunchTemplateData={"ImageId": home.tenant.image, **DATA},
        TagSpecifications=named("launch-template"),
    )
    return made["LaunchTemplate"]["LaunchTemplateId"]


def two_versions(home):
    id = new_template(home)
    home.ec2.create_launch_template_version(LaunchTemplateId=id, LaunchTemplateData=DATA)
    return id


CALLS = {
    "CreateLaunchTemplate": lambda h: {
        "LaunchTemplateName": f"template-{next(COUNT)}",
        "LaunchTemplateData": DATA,
        "TagSpecifications": named("launch-template"),
    },
    "CreateLaunchTemplateVersion": lambda h: {
        "LaunchTemplateId": h.launch_template,
        "SourceVersion": "1",
        "VersionDescription": "next",
        "LaunchTemplateData": {"KeyName": h.key_name},
    },
    "DeleteLaunchTemplate": lambda h: {"LaunchTemplateId": new_template(h)},
    "DeleteLaunchTemplateVersions": lambda h: {"LaunchTemplateId": two_versions(h), "Versions": ["1", "2"]},
    "DescribeLaunchTemplates": lambda h: {"LaunchTemplateIds": [h.launch_template]},
    "DescribeLaunchTemplateVersions": lambda h: {"LaunchTemplateId": h.launch_template},
    "GetLaunchTemplateData": lambda h: {"InstanceId": h.instance},
    "ModifyLaunchTemplate": lambda h: {"LaunchTemplateId": two_versions(h), "DefaultVersion": "2"},
}

READS = {
    "CreateLaunchTemplate": under("LaunchTemplate", TEMPLATE + " Tags.Key"),
    "CreateLaunchTemplateVersion": under("LaunchTemplateVersion", VERSION + " VersionDescription LaunchTemplateData.KeyName"),
    "DeleteLaunchTemplate": under("LaunchTemplate", TEMPLATE),
    "DeleteLaunchTemplateVersions": under("SuccessfullyDeletedLaunchTemplateVersions", NUMBER)
    + " "
    + under("UnsuccessfullyDeletedLaunchTemplateVersions", NUMBER + " ResponseError.Code ResponseError.Message"),
    "DescribeLaunchTemplates": under("LaunchTemplates", TEMPLATE + " Tags.Key Operator.Managed"),
    "DescribeLaunchTemplateVersions": under("LaunchTemplateVersions", VERSION),
    "GetLaunchTemplateData": under(
        "LaunchTemplateData",
        "ImageId InstanceType KeyName UserData Monitoring.Enabled Placement.AvailabilityZone MetadataOptions.HttpTokens "
        "DisableApiTermination InstanceInitiatedShutdownBehavior NetworkInterfaces.SubnetId NetworkInterfaces.Groups "
        "BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.VolumeSize",
    ),
    "ModifyLaunchTemplate": under("LaunchTemplate", TEMPLATE),
}

MADE = {"launch_template": new_template}

NAMES = {"launch_template": ["LaunchTemplateId", "LaunchTemplateIds"]}

TAGGED = ["launch_template"]

# All versions of all templates cannot be asked for.
NOT_LISTS = {"DescribeLaunchTemplateVersions"}


def FILTERS(home):
    yield "DescribeLaunchTemplates", "tag:Name", ["canary-launch-template"]
    yield "DescribeLaunchTemplates", "launch-template-name", ["canary-template-*"]
