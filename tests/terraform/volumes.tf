# Volumes beside the root: alone, attached, made with an instance; what an account's volumes are by default.
# What is to become of a volume at the end of a launch's tags and options the API does not tell:
# import differs: aws_instance.with_disks

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["awan-tiny-*"]
  }
}

resource "aws_instance" "with_disks" {
  ami               = data.aws_ami.tiny.id
  instance_type     = "t3.nano"
  availability_zone = "us-east-1a"
  root_block_device {
    volume_size = 2 + var.stage
    volume_type = "gp3"
    throughput  = 125 + var.stage
    tags        = { stage = "s${var.stage}" }
  }
  ebs_block_device {
    device_name           = "/dev/sdg"
    volume_size           = 1
    volume_type           = "gp3"
    delete_on_termination = true
  }
}

# Terraform takes a volume that is attached to an instance with block devices of its own for one of those.
resource "aws_instance" "plain" {
  ami               = data.aws_ami.tiny.id
  instance_type     = "t3.nano"
  availability_zone = "us-east-1a"
}

resource "aws_ebs_volume" "data" {
  availability_zone = "us-east-1a"
  size              = 4 + var.stage
  type              = "gp3"
  iops              = 3000
  throughput        = var.stage == 1 ? 125 : 250
  tags              = { Name = "data", stage = "s${var.stage}" }
}

resource "aws_ebs_volume" "fast" {
  availability_zone = "us-east-1b"
  size              = 8
  type              = var.stage == 1 ? "io1" : "io2"
  iops              = 300 + var.stage
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdh"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.plain.id
}

# While it is on no volume can be made: nothing encrypts yet.
resource "aws_ebs_encryption_by_default" "account" {
  enabled    = var.stage == 2
  depends_on = [aws_instance.with_disks, aws_instance.plain, aws_ebs_volume.data, aws_ebs_volume.fast]
}

data "aws_ebs_encryption_by_default" "account" {
  depends_on = [aws_ebs_encryption_by_default.account]
}

data "aws_ebs_default_kms_key" "account" {}

data "aws_ebs_volume" "data" {
  most_recent = true
  filter {
    name   = "volume-id"
    values = [aws_ebs_volume.data.id]
  }
}

data "aws_ebs_volumes" "all" {
  filter {
    name   = "availability-zone"
    values = [aws_ebs_volume.fast.availability_zone]
  }
}

output "import" {
  value = {
    "aws_instance.with_disks"               = aws_instance.with_disks.id
    "aws_instance.plain"                    = aws_instance.plain.id
    "aws_ebs_volume.data"                   = aws_ebs_volume.data.id
    "aws_ebs_volume.fast"                   = aws_ebs_volume.fast.id
    "aws_volume_attachment.data"            = "/dev/sdh:${aws_ebs_volume.data.id}:${aws_instance.plain.id}"
    "aws_ebs_encryption_by_default.account" = "default"
  }
}
