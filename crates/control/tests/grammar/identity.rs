//! Requests to the services that EC2's tools call besides: IAM, STS, Systems Manager's parameters.

use super::{Recipe, Teller, text};

const NAME: (&str, &str) = ("Name", "/fuzz/a|/fuzz/b|c|/aws/service/awan/tiny/latest/image_id");
const NAMES: (&str, &str) = ("Names", r#"["/fuzz/a","c"]|["x"]|[]"#);
const PARAMETER: [(&str, &str); 2] = [("ResourceType", "Parameter"), ("ResourceId", "/fuzz/a|/fuzz/b|c")];

const BOUNDARY: (&str, &str) = ("PermissionsBoundary", "arn:aws:iam::aws:policy/AdministratorAccess|x");
const DOCUMENT: (&str, &str) = ("PolicyDocument", DOCUMENTS);
const GROUP: (&str, &str) = ("GroupName", "a|b");
const ITEMS: (&str, &str) = ("MaxItems", "1|100|1000|1001");
const MARKER: (&str, &str) = ("Marker", "x");
const PATH: (&str, &str) = ("Path", "/|/x/|x");
const PATH_PREFIX: (&str, &str) = ("PathPrefix", "/|/x/|x");
const POLICY: (&str, &str) =
    ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess|arn:aws:iam::aws:policy/IAMFullAccess|x");
const POLICY_NAME: (&str, &str) = ("PolicyName", "a|b");
const PROFILE: (&str, &str) = ("InstanceProfileName", "a|b");
const ROLE: (&str, &str) = ("RoleName", "a|b|c");
const TAGS: (&str, &str) = ("Tags.member.1.Key", "a|b|aws:x");
const TAG_VALUE: (&str, &str) = ("Tags.member.1.Value", "1|");
const ONE_TAG: &str = "Tags.member.1.Key=a&Tags.member.1.Value=b";
const TAG_KEYS: (&str, &str) = ("TagKeys.member.1", "a|b");
const TRUST: (&str, &str) = ("PolicyDocument", TRUSTS);
const TRUST_OF_ROLE: (&str, &str) = ("AssumeRolePolicyDocument", TRUSTS);
const USER: (&str, &str) = ("UserName", "a|b|c");
const VERSION: (&str, &str) = ("VersionId", "v1|v2|x");
const DOCUMENTS: &str = r#"{"Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}"#;
const TRUSTS: &str = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}}"#;

pub const RECIPES: &[Recipe] = &[
    ("AssociateIamInstanceProfile", &[("InstanceId", "<i>"), ("IamInstanceProfile.Name", "a|b|x")], &[]),
    (
        "DescribeIamInstanceProfileAssociations",
        &[],
        &[("AssociationId.1", "<iip-assoc>"), ("Filter.1.Name", "state|instance-id|x"), ("Filter.1.Value.1", "*")],
    ),
    ("DisassociateIamInstanceProfile", &[("AssociationId", "<iip-assoc>")], &[]),
    (
        "ReplaceIamInstanceProfileAssociation",
        &[("AssociationId", "<iip-assoc>"), ("IamInstanceProfile.Name", "a|b|x")],
        &[("IamInstanceProfile.Arn", "x")],
    ),
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
    ("AddRoleToInstanceProfile", &[PROFILE, ROLE], &[]),
    ("AddUserToGroup", &[GROUP, USER], &[]),
    (
        "AssumeRole",
        &[("RoleArn", "arn:aws:iam::123456789012:role/a"), ("RoleSessionName", "s|a b")],
        &[("DurationSeconds", "900|3600|1"), TAGS, ("ExternalId", "x")],
    ),
    ("AttachGroupPolicy", &[GROUP, POLICY], &[]),
    ("AttachRolePolicy", &[ROLE, POLICY], &[]),
    ("AttachUserPolicy", &[USER, POLICY], &[]),
    ("CreateAccessKey", &[USER], &[]),
    ("CreateAccountAlias", &[("AccountAlias", "acme|acme-2|A")], &[]),
    ("CreateGroup", &[GROUP], &[PATH]),
    ("CreateInstanceProfile", &[PROFILE], &[PATH, TAGS]),
    ("CreatePolicy", &[POLICY_NAME, DOCUMENT], &[PATH, ("Description", "text|"), TAGS]),
    ("CreatePolicyVersion", &[POLICY, DOCUMENT], &[("SetAsDefault", "true|false|x")]),
    (
        "CreateRole",
        &[ROLE, TRUST_OF_ROLE],
        &[
            PATH,
            ("Description", "text|"),
            ("MaxSessionDuration", "3600|7200|1"),
            ("MaxSigninSessionDuration", "3600"),
            BOUNDARY,
            TAGS,
        ],
    ),
    ("CreateUser", &[USER], &[PATH, BOUNDARY, TAGS]),
    ("DeleteAccessKey", &[USER, ("AccessKeyId", "AKIANOBODY|")], &[]),
    ("DeleteAccountAlias", &[("AccountAlias", "acme|acme-2|A")], &[]),
    ("DeleteGroup", &[GROUP], &[]),
    ("DeleteGroupPolicy", &[GROUP, POLICY_NAME], &[]),
    ("DeleteInstanceProfile", &[PROFILE], &[]),
    ("DeletePolicy", &[POLICY], &[]),
    ("DeletePolicyVersion", &[POLICY, VERSION], &[]),
    ("DeleteRole", &[ROLE], &[]),
    ("DeleteRolePermissionsBoundary", &[ROLE], &[]),
    ("DeleteRolePolicy", &[ROLE, POLICY_NAME], &[]),
    ("DeleteUser", &[USER], &[]),
    ("DeleteUserPermissionsBoundary", &[USER], &[]),
    ("DeleteUserPolicy", &[USER, POLICY_NAME], &[]),
    ("DetachGroupPolicy", &[GROUP, POLICY], &[]),
    ("DetachRolePolicy", &[ROLE, POLICY], &[]),
    ("DetachUserPolicy", &[USER, POLICY], &[]),
    ("GetAccessKeyInfo", &[("AccessKeyId", "AKIANOBODY|")], &[]),
    ("GetAccessKeyLastUsed", &[("AccessKeyId", "AKIANOBODY|")], &[]),
    ("GetAccountSummary", &[], &[]),
    ("GetGroup", &[GROUP], &[MARKER, ITEMS]),
    ("GetGroupPolicy", &[GROUP, POLICY_NAME], &[]),
    ("GetInstanceProfile", &[PROFILE], &[]),
    ("GetPolicy", &[POLICY], &[]),
    ("GetPolicyVersion", &[POLICY, VERSION], &[]),
    ("GetRole", &[ROLE], &[]),
    ("GetRolePolicy", &[ROLE, POLICY_NAME], &[]),
    ("GetSessionToken", &[], &[("DurationSeconds", "900|3600|1")]),
    ("GetUser", &[], &[USER]),
    ("GetUserPolicy", &[USER, POLICY_NAME], &[]),
    ("ListAccessKeys", &[USER], &[MARKER, ITEMS]),
    ("ListAccountAliases", &[], &[MARKER, ITEMS]),
    ("ListAttachedGroupPolicies", &[GROUP], &[PATH_PREFIX, MARKER, ITEMS]),
    ("ListAttachedRolePolicies", &[ROLE], &[PATH_PREFIX, MARKER, ITEMS]),
    ("ListAttachedUserPolicies", &[USER], &[PATH_PREFIX, MARKER, ITEMS]),
    (
        "ListEntitiesForPolicy",
        &[POLICY],
        &[
            ("EntityFilter", "User|Role|Group|x"),
            PATH_PREFIX,
            ("PolicyUsageFilter", "PermissionsPolicy|PermissionsBoundary|x"),
            MARKER,
            ITEMS,
        ],
    ),
    ("ListGroupPolicies", &[GROUP], &[MARKER, ITEMS]),
    ("ListGroups", &[], &[PATH_PREFIX, MARKER, ITEMS]),
    ("ListGroupsForUser", &[USER], &[MARKER, ITEMS]),
    ("ListInstanceProfileTags", &[PROFILE], &[MARKER, ITEMS]),
    ("ListInstanceProfiles", &[], &[PATH_PREFIX, MARKER, ITEMS]),
    ("ListInstanceProfilesForRole", &[ROLE], &[MARKER, ITEMS]),
    (
        "ListPolicies",
        &[],
        &[
            ("Scope", "All|Local|AWS|x"),
            ("OnlyAttached", "true|false"),
            PATH_PREFIX,
            ("PolicyUsageFilter", "PermissionsPolicy|PermissionsBoundary|x"),
            MARKER,
            ITEMS,
        ],
    ),
    ("ListPolicyTags", &[POLICY], &[MARKER, ITEMS]),
    ("ListPolicyVersions", &[POLICY], &[MARKER, ITEMS]),
    ("ListRolePolicies", &[ROLE], &[MARKER, ITEMS]),
    ("ListRoleTags", &[ROLE], &[MARKER, ITEMS]),
    ("ListRoles", &[], &[PATH_PREFIX, MARKER, ITEMS]),
    ("ListUserPolicies", &[USER], &[MARKER, ITEMS]),
    ("ListUserTags", &[USER], &[MARKER, ITEMS]),
    ("ListUsers", &[], &[PATH_PREFIX, MARKER, ITEMS]),
    ("PutGroupPolicy", &[GROUP, POLICY_NAME, DOCUMENT], &[]),
    ("PutRolePermissionsBoundary", &[ROLE, BOUNDARY], &[]),
    ("PutRolePolicy", &[ROLE, POLICY_NAME, DOCUMENT], &[]),
    ("PutUserPermissionsBoundary", &[USER, BOUNDARY], &[]),
    ("PutUserPolicy", &[USER, POLICY_NAME, DOCUMENT], &[]),
    ("RemoveRoleFromInstanceProfile", &[PROFILE, ROLE], &[]),
    ("RemoveUserFromGroup", &[GROUP, USER], &[]),
    ("SetDefaultPolicyVersion", &[POLICY, VERSION], &[]),
    ("TagInstanceProfile", &[PROFILE, TAGS, TAG_VALUE], &[]),
    ("TagPolicy", &[POLICY, TAGS, TAG_VALUE], &[]),
    ("TagRole", &[ROLE, TAGS, TAG_VALUE], &[]),
    ("TagUser", &[USER, TAGS, TAG_VALUE], &[]),
    ("UntagInstanceProfile", &[PROFILE, TAG_KEYS], &[]),
    ("UntagPolicy", &[POLICY, TAG_KEYS], &[]),
    ("UntagRole", &[ROLE, TAG_KEYS], &[]),
    ("UntagUser", &[USER, TAG_KEYS], &[]),
    ("UpdateAccessKey", &[USER, ("AccessKeyId", "AKIANOBODY|"), ("Status", "Active|Inactive|x")], &[]),
    ("UpdateAssumeRolePolicy", &[ROLE, TRUST], &[]),
    ("UpdateGroup", &[GROUP], &[("NewPath", "/|/x/|x"), ("NewGroupName", "a|b")]),
    (
        "UpdateRole",
        &[ROLE],
        &[("Description", "text|"), ("MaxSessionDuration", "3600|7200|1"), ("MaxSigninSessionDuration", "3600")],
    ),
    ("UpdateRoleDescription", &[ROLE, ("Description", "text|")], &[]),
    ("UpdateUser", &[USER], &[("NewPath", "/|/x/|x"), ("NewUserName", "a|b|c")]),
    ("RemoveTagsFromResource", &[PARAMETER[0], PARAMETER[1], ("TagKeys", r#"["a"]"#)], &[]),
];

/// Those of other services than EC2 have none anyway.
pub const WET: &[&str] = &[
    "AssociateIamInstanceProfile",
    "DescribeIamInstanceProfileAssociations",
    "DisassociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
];

pub fn story(teller: &mut dyn Teller) {
    parameters(teller);
    users(teller);
    roles(teller);
    policies(teller);
}

fn parameters(teller: &mut dyn Teller) {
    let about = r#""ResourceType":"Parameter","ResourceId":"story""#;
    teller.ask("PutParameter", r#"{"Name":"story","Value":"1","Type":"String"}"#);
    teller.ask("AddTagsToResource", &format!(r#"{{{about},"Tags":[{{"Key":"a","Value":"b"}}]}}"#));
    teller.ask("ListTagsForResource", &format!("{{{about}}}"));
    teller.ask("RemoveTagsFromResource", &format!(r#"{{{about},"TagKeys":["a"]}}"#));
    teller.ask("DeleteParameter", r#"{"Name":"story"}"#);
}

fn users(teller: &mut dyn Teller) {
    let user = "UserName=story";
    teller.ask("CreateUser", user);
    teller.ask("CreateGroup", "GroupName=story");
    let key = text(&teller.ask("CreateAccessKey", user), "AccessKeyId");
    teller.ask("UpdateAccessKey", &format!("{user}&AccessKeyId={key}&Status=Inactive"));
    teller.ask("GetAccessKeyLastUsed", &format!("AccessKeyId={key}"));
    teller.ask("GetAccessKeyInfo", &format!("AccessKeyId={key}"));
    teller.ask("DeleteAccessKey", &format!("{user}&AccessKeyId={key}"));
    teller.ask("AddUserToGroup", &format!("{user}&GroupName=story"));
    teller.ask("ListGroupsForUser", user);
    teller.ask("RemoveUserFromGroup", &format!("{user}&GroupName=story"));
    teller.ask("UpdateGroup", "GroupName=story&NewGroupName=told");
    teller.ask("UpdateUser", &format!("{user}&NewUserName=told"));
    holder(teller, "User", "UserName=told");
    holder(teller, "Group", "GroupName=told");
    for action in ["CreateAccountAlias", "ListAccountAliases", "DeleteAccountAlias"] {
        teller.ask(action, if action.starts_with('L') { "" } else { "AccountAlias=story" });
    }
}

/// What can be done with policies of one kind, until it is deleted.
fn holder(teller: &mut dyn Teller, kind: &str, named: &str) {
    let policy = format!("{named}&PolicyName=story");
    let document = super::hex(DOCUMENTS);
    let managed = format!("{named}&PolicyArn={}", super::hex("arn:aws:iam::aws:policy/IAMFullAccess"));
    let boundary = format!("{named}&PermissionsBoundary={}", super::hex("arn:aws:iam::aws:policy/IAMFullAccess"));
    teller.ask(&format!("Put{kind}Policy"), &format!("{policy}&PolicyDocument={document}"));
    teller.ask(&format!("Get{kind}Policy"), &policy);
    teller.ask(&format!("List{kind}Policies"), named);
    teller.ask(&format!("Delete{kind}Policy"), &policy);
    teller.ask(&format!("Attach{kind}Policy"), &managed);
    teller.ask(&format!("ListAttached{kind}Policies"), named);
    teller.ask(&format!("Detach{kind}Policy"), &managed);
    if kind != "Group" {
        teller.ask(&format!("Put{kind}PermissionsBoundary"), &boundary);
        teller.ask(&format!("Delete{kind}PermissionsBoundary"), named);
        teller.ask(&format!("Tag{kind}"), &format!("{named}&{ONE_TAG}"));
        teller.ask(&format!("Untag{kind}"), &format!("{named}&TagKeys.member.1=a"));
    }
    teller.ask(&format!("Delete{kind}"), named);
}

fn roles(teller: &mut dyn Teller) {
    let (role, profile) = ("RoleName=story", "InstanceProfileName=story");
    let trust = super::hex(TRUSTS);
    let made = teller.ask("CreateRole", &format!("{role}&AssumeRolePolicyDocument={trust}"));
    let arn = super::hex(&text(&made, "Arn"));
    teller.ask("UpdateAssumeRolePolicy", &format!("{role}&PolicyDocument={trust}"));
    teller.ask("AssumeRole", &format!("RoleArn={arn}&RoleSessionName=story"));
    teller.ask("CreateInstanceProfile", profile);
    teller.ask("AddRoleToInstanceProfile", &format!("{profile}&{role}"));
    teller.ask("ListInstanceProfilesForRole", role);
    teller.ask("TagInstanceProfile", &format!("{profile}&{ONE_TAG}"));
    teller.ask("UntagInstanceProfile", &format!("{profile}&TagKeys.member.1=a"));
    let launched = teller.ask("RunInstances", &format!("ImageId={}&MinCount=1&MaxCount=1", super::IMAGE));
    let instance = text(&launched, "instanceId");
    let by_name = "IamInstanceProfile.Name=story";
    let made = teller.ask("AssociateIamInstanceProfile", &format!("InstanceId={instance}&{by_name}"));
    let id = text(&made, "associationId");
    let made = teller.ask("ReplaceIamInstanceProfileAssociation", &format!("AssociationId={id}&{by_name}"));
    teller.round();
    teller.ask("DisassociateIamInstanceProfile", &format!("AssociationId={}", text(&made, "associationId")));
    teller.ask("TerminateInstances", &format!("InstanceId.1={instance}"));
    teller.round();
    teller.ask("RemoveRoleFromInstanceProfile", &format!("{profile}&{role}"));
    teller.ask("DeleteInstanceProfile", profile);
    holder(teller, "Role", role);
}

fn policies(teller: &mut dyn Teller) {
    let document = super::hex(DOCUMENTS);
    let made = teller.ask("CreatePolicy", &format!("PolicyName=story&PolicyDocument={document}"));
    let policy = format!("PolicyArn={}", super::hex(&text(&made, "Arn")));
    teller.ask("CreatePolicyVersion", &format!("{policy}&PolicyDocument={document}"));
    teller.ask("SetDefaultPolicyVersion", &format!("{policy}&VersionId=v2"));
    teller.ask("DeletePolicyVersion", &format!("{policy}&VersionId=v1"));
    teller.ask("TagPolicy", &format!("{policy}&{ONE_TAG}"));
    teller.ask("UntagPolicy", &format!("{policy}&TagKeys.member.1=a"));
    teller.ask("DeletePolicy", &policy);
}
