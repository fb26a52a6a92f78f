"""Profiles of instances. IAM, STS and parameters have tests of their own: test_identity.py."""

from areas import COUNT, under

ASSOCIATION = "AssociationId InstanceId IamInstanceProfile.Arn IamInstanceProfile.Id State Timestamp"


def new_profile(h):
    name = f"canary-profile-{next(COUNT)}"
    iam = h.tenant.awan.client(h.tenant.keys, "iam")
    return iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["InstanceProfileName"]


def new_association(h):
    asked = {"InstanceId": h.tenant.launch()[0], "IamInstanceProfile": {"Name": new_profile(h)}}
    return h.ec2.associate_iam_instance_profile(**asked)["IamInstanceProfileAssociation"]["AssociationId"]


CALLS = {
    "AssociateIamInstanceProfile": lambda h: {"InstanceId": h.tenant.launch()[0], "IamInstanceProfile": {"Name": new_profile(h)}},
    "DescribeIamInstanceProfileAssociations": lambda h: {"AssociationIds": [h.profile_association]},
    "DisassociateIamInstanceProfile": lambda h: {"AssociationId": new_association(h)},
    "ReplaceIamInstanceProfileAssociation": lambda h: {"AssociationId": new_association(h), "IamInstanceProfile": {"Name": new_profile(h)}},
}
READS = {
    "AssociateIamInstanceProfile": under("IamInstanceProfileAssociation", ASSOCIATION),
    "DescribeIamInstanceProfileAssociations": under("IamInstanceProfileAssociations", ASSOCIATION),
    "DisassociateIamInstanceProfile": under("IamInstanceProfileAssociation", ASSOCIATION),
    "ReplaceIamInstanceProfileAssociation": under("IamInstanceProfileAssociation", ASSOCIATION),
}
MADE = {"profile_association": new_association}
NESTED = [
    ("DescribeIamInstanceProfileAssociations", "profile_association", lambda id: {"AssociationIds": [id]}),
    ("DisassociateIamInstanceProfile", "profile_association", lambda id: {"AssociationId": id}),
    ("ReplaceIamInstanceProfileAssociation", "profile_association", lambda id: {"AssociationId": id}),
]
ALWAYS_WET = {
    "AssociateIamInstanceProfile",
    "DescribeIamInstanceProfileAssociations",
    "DisassociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
}


def FILTERS(h):
    h.profile_association
    yield "DescribeIamInstanceProfileAssociations", "instance-id", [h.instance]
