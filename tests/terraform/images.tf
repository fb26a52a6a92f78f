# Snapshots and images of an instance, of a snapshot and of each other, and who else may use them.
# replaces: aws_ami_launch_permission.all[0]
# What hangs on an instance that is not imported too would be made anew, so little is imported here.

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["awan-tiny-*"]
  }
}

data "aws_region" "here" {}

data "aws_subnets" "default" {
  filter {
    name   = "default-for-az"
    values = ["true"]
  }
}

resource "aws_instance" "model" {
  ami           = data.aws_ami.tiny.id
  instance_type = "t3.nano"
  subnet_id     = data.aws_subnets.default.ids[0]
}

resource "aws_ebs_snapshot" "disk" {
  volume_id   = aws_instance.model.root_block_device[0].volume_id
  description = "disk"
  tags        = { stage = "s${var.stage}" }
}

resource "aws_ebs_snapshot_copy" "disk" {
  source_snapshot_id = aws_ebs_snapshot.disk.id
  source_region      = data.aws_region.here.name
  description        = "copy"
  tags               = { stage = "s${var.stage}" }
}

resource "aws_snapshot_create_volume_permission" "friend" {
  snapshot_id = aws_ebs_snapshot.disk.id
  account_id  = "123456789012"
}

resource "aws_ami" "registered" {
  name                = "terraform-registered"
  description         = "stage ${var.stage}"
  architecture        = "x86_64"
  virtualization_type = "hvm"
  root_device_name    = "/dev/xvda"
  ena_support         = true
  deprecation_time    = "2029-0${var.stage}-01T00:00:00Z"
  ebs_block_device {
    device_name = "/dev/xvda"
    snapshot_id = aws_ebs_snapshot.disk.id
    volume_size = 8
    volume_type = "gp3"
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_ami_copy" "copy" {
  name              = "terraform-copy"
  description       = "copy ${var.stage}"
  source_ami_id     = data.aws_ami.tiny.id
  source_ami_region = data.aws_region.here.name
  tags              = { stage = "s${var.stage}" }
}

resource "aws_ami_from_instance" "golden" {
  name                    = "terraform-golden"
  source_instance_id      = aws_instance.model.id
  snapshot_without_reboot = true
  tags                    = { stage = "s${var.stage}" }
}

resource "aws_ami_launch_permission" "friend" {
  image_id   = aws_ami_copy.copy.id
  account_id = "123456789012"
}

resource "aws_ec2_image_block_public_access" "here" {
  state = var.stage == 1 ? "unblocked" : "block-new-sharing"
}

resource "aws_ami_launch_permission" "all" {
  count      = var.stage == 1 ? 1 : 0
  image_id   = aws_ami_copy.copy.id
  group      = "all"
  depends_on = [aws_ec2_image_block_public_access.here]
}

resource "aws_ebs_snapshot_block_public_access" "here" {
  state = var.stage == 1 ? "block-all-sharing" : "block-new-sharing"
}

data "aws_ami" "copy" {
  owners      = ["self"]
  most_recent = true
  filter {
    name   = "image-id"
    values = [aws_ami_copy.copy.id]
  }
}

data "aws_ami_ids" "own" {
  owners     = ["self"]
  depends_on = [aws_ami.registered, aws_ami_copy.copy, aws_ami_from_instance.golden]
}

data "aws_ebs_snapshot" "disk" {
  most_recent = true
  owners      = ["self"]
  filter {
    name   = "snapshot-id"
    values = [aws_ebs_snapshot.disk.id]
  }
}

data "aws_ebs_snapshot_ids" "own" {
  owners     = ["self"]
  depends_on = [aws_ebs_snapshot.disk, aws_ebs_snapshot_copy.disk]
}

output "import" {
  value = {
    "aws_ebs_snapshot_block_public_access.here" = data.aws_region.here.name
  }
}
