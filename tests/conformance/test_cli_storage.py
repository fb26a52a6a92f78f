"""Volumes, snapshots and images by the aws CLI, in the words of its documentation."""

from clients import QUICK, refused
from test_cli import FAILED


def test_a_volume_from_its_making_to_its_end(tenant):
    aws = tenant.shell
    (instance,) = tenant.run(Placement={"AvailabilityZone": "us-east-1a"})
    made = aws(
        "ec2 create-volume --volume-type gp3 --size 8 --availability-zone us-east-1a"
        " --tag-specifications 'ResourceType=volume,Tags=[{Key=purpose,Value=production},{Key=cost-center,Value=cc123}]'"
    )
    volume = made["VolumeId"]
    assert (made["Size"], made["Iops"], made["Throughput"], made["Encrypted"]) == (8, 3000, 125, False)
    aws(f"ec2 wait volume-available --volume-ids {volume}")
    attached = aws(f"ec2 attach-volume --volume-id {volume} --instance-id {instance} --device /dev/sdf")
    assert (attached["State"], attached["Device"], attached["InstanceId"]) == ("attaching", "/dev/sdf", instance)
    aws(f"ec2 wait volume-in-use --volume-ids {volume}")
    listed = aws(
        f"ec2 describe-volumes --filters Name=attachment.instance-id,Values={instance} Name=attachment.delete-on-termination,Values=false"
        ' --query "Volumes[*].{ID:VolumeId,Tag:Tags[?Key==`purpose`]|[0].Value,Type:VolumeType}" --output text'
    )
    assert listed.split() == [volume, "production", "gp3"]
    change = aws(f"ec2 modify-volume --volume-type gp3 --size 16 --iops 4000 --volume-id {volume}")["VolumeModification"]
    assert (change["OriginalSize"], change["TargetSize"], change["TargetIops"]) == (8, 16, 4000)
    progress = aws(f"ec2 describe-volumes-modifications --volume-ids {volume} --query VolumesModifications[0].TargetSize")
    assert progress == 16
    assert aws(f"ec2 detach-volume --volume-id {volume}")["State"] == "detaching"
    tenant.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICK)
    aws(f"ec2 delete-volume --volume-id {volume}")
    aws(f"ec2 wait volume-deleted --volume-ids {volume}")


def test_a_snapshot_is_copied_shared_and_deleted(tenant, other):
    aws = tenant.shell
    volume = tenant.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    tenant.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICK)
    made = aws(f'ec2 create-snapshot --volume-id {volume} --description "This is my root volume snapshot"')
    snapshot = made["SnapshotId"]
    assert (made["VolumeId"], made["VolumeSize"], made["OwnerId"]) == (volume, 1, tenant.id)
    aws(f"ec2 wait snapshot-completed --snapshot-ids {snapshot}")
    copy = aws(f'ec2 copy-snapshot --source-region us-east-1 --source-snapshot-id {snapshot} --description "This is my copied snapshot."')["SnapshotId"]
    aws(f"ec2 modify-snapshot-attribute --snapshot-id {snapshot} --attribute createVolumePermission --operation-type add --user-ids {other.id}")
    shown = aws(f"ec2 describe-snapshot-attribute --snapshot-id {snapshot} --attribute createVolumePermission")
    assert shown == {"CreateVolumePermissions": [{"UserId": other.id}], "SnapshotId": snapshot}
    seen = other.shell(f"ec2 describe-snapshots --owner-ids {tenant.id} --restorable-by-user-ids self --query Snapshots[*].[SnapshotId,Description]")
    assert seen == [[snapshot, "This is my root volume snapshot"]]
    listed = aws("ec2 describe-snapshots --owner-ids self --filters Name=status,Values=completed --query Snapshots[*].SnapshotId")
    assert set(listed) == {snapshot, copy}
    aws(f"ec2 delete-snapshot --snapshot-id {snapshot}")
    with refused("InvalidSnapshot.NotFound", message=f"The snapshot '{snapshot}' does not exist."):
        tenant.ec2.describe_snapshots(SnapshotIds=[snapshot])


def test_an_image_of_a_server(tenant, other):
    aws = tenant.shell
    (instance,) = tenant.run()
    image = aws(f'ec2 create-image --instance-id {instance} --name "My server" --description "An AMI for my server" --query ImageId --output text')
    aws(f"ec2 wait image-available --image-ids {image}")
    shown = aws('ec2 describe-images --owners self --filters "Name=name,Values=My*" --query "Images[0]"')
    snapshot = shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert (shown["ImageId"], shown["Description"], shown["SourceInstanceId"]) == (image, "An AMI for my server", instance)
    copy = aws(f'ec2 copy-image --source-image-id {image} --source-region us-east-1 --region us-east-1 --name "My server in another place"')["ImageId"]
    aws(f'ec2 modify-image-attribute --image-id {image} --launch-permission "Add=[{{UserId={other.id}}}]"')
    theirs = other.shell("ec2 describe-images --executable-users self --query Images[].[ImageId,OwnerId]")
    assert theirs == [[image, tenant.id]]
    launched = other.shell(f"ec2 run-instances --image-id {image} --instance-type t3.micro --query Instances[0].ImageId --output text")
    assert launched == image
    complaint = aws(f"ec2 delete-snapshot --snapshot-id {snapshot}", code=FAILED)
    assert f"(InvalidSnapshot.InUse) when calling the DeleteSnapshot operation: The snapshot {snapshot} is currently in use by {image}" in complaint, complaint
    aws(f"ec2 deregister-image --image-id {image}")
    aws(f"ec2 delete-snapshot --snapshot-id {snapshot}")
    assert [left["ImageId"] for left in tenant.ec2.describe_images(Owners=["self"])["Images"]] == [copy]
