# Options of instances, and where they are placed.
# import differs: aws_instance.main
# import differs: aws_key_pair.me

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["awan-tiny-*"]
  }
}

data "aws_vpc" "default" {
  default = true
}

data "aws_availability_zones" "up" {
  state = "available"
}

data "aws_availability_zone" "first" {
  name = data.aws_availability_zones.up.names[0]
}

data "aws_regions" "all" {}

data "aws_region" "here" {}

resource "aws_key_pair" "me" {
  key_name   = "options"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home"
}

data "aws_key_pair" "me" {
  key_name           = aws_key_pair.me.key_name
  include_public_key = true
}

resource "aws_security_group" "one" {
  count  = 2
  name   = "options-${count.index}"
  vpc_id = data.aws_vpc.default.id
}

resource "aws_placement_group" "spread" {
  name     = "options-spread"
  strategy = "spread"
  tags     = { stage = "s${var.stage}" }
}

resource "aws_placement_group" "partition" {
  name            = "options-partition"
  strategy        = "partition"
  partition_count = 3
}

resource "aws_placement_group" "cluster" {
  name     = "options-cluster"
  strategy = "cluster"
}

resource "aws_ec2_serial_console_access" "here" {
  enabled = var.stage == 1
}

data "aws_ec2_serial_console_access" "here" {
  depends_on = [aws_ec2_serial_console_access.here]
}

resource "aws_ec2_instance_metadata_defaults" "here" {
  http_tokens                 = "required"
  http_put_response_hop_limit = var.stage + 1
  instance_metadata_tags      = var.stage == 1 ? "no-preference" : "enabled"
}

# Stop protection protects from being destroyed, too: it has to end before.
resource "aws_instance" "guarded" {
  ami               = data.aws_ami.tiny.id
  instance_type     = "t3.nano"
  availability_zone = data.aws_availability_zone.first.name
  disable_api_stop  = var.stage == 1
}

resource "aws_instance" "main" {
  ami                                  = data.aws_ami.tiny.id
  instance_type                        = var.stage == 1 ? "t3.micro" : "t3.small"
  key_name                             = aws_key_pair.me.key_name
  availability_zone                    = data.aws_availability_zone.first.name
  placement_group                      = aws_placement_group.spread.name
  vpc_security_group_ids               = var.stage == 1 ? [aws_security_group.one[0].id] : aws_security_group.one[*].id
  user_data                            = "#!/bin/sh\necho ${var.stage}\n"
  disable_api_termination              = false
  instance_initiated_shutdown_behavior = var.stage == 1 ? "stop" : "terminate"
  monitoring                           = var.stage == 2
  source_dest_check                    = var.stage == 1
  ebs_optimized                        = true
  hibernation                          = false

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = var.stage == 1 ? "optional" : "required"
    http_put_response_hop_limit = var.stage
    instance_metadata_tags      = var.stage == 1 ? "disabled" : "enabled"
  }

  maintenance_options {
    auto_recovery = var.stage == 1 ? "default" : "disabled"
  }

  credit_specification {
    cpu_credits = var.stage == 1 ? "standard" : "unlimited"
  }

  capacity_reservation_specification {
    capacity_reservation_preference = "open"
  }

  root_block_device {
    volume_size = 2
  }

  tags = { Name = "options", stage = "s${var.stage}" }
}

resource "aws_instance" "dedicated" {
  ami                        = data.aws_ami.tiny.id
  instance_type              = "m5.large"
  tenancy                    = "dedicated"
  placement_group            = aws_placement_group.partition.name
  placement_partition_number = 2
  user_data_base64           = base64encode("#cloud-config\n")
  lifecycle {
    ignore_changes = [root_block_device]
  }
}

resource "aws_ec2_instance_state" "dedicated" {
  instance_id = aws_instance.dedicated.id
  state       = var.stage == 1 ? "stopped" : "running"
}

resource "aws_ec2_tag" "vpc" {
  resource_id = data.aws_vpc.default.id
  key         = "team"
  value       = "s${var.stage}"
}

data "aws_instance" "main" {
  instance_id       = aws_instance.main.id
  get_user_data     = true
  get_password_data = false
}

data "aws_instances" "all" {
  instance_state_names = ["running", "stopped", "pending"]
  filter {
    name   = "placement-group-name"
    values = [aws_placement_group.spread.name]
  }
  depends_on = [aws_instance.main]
}

output "import" {
  value = {
    "aws_instance.main"                  = aws_instance.main.id
    "aws_key_pair.me"                    = aws_key_pair.me.id
    "aws_placement_group.spread"         = aws_placement_group.spread.name
    "aws_placement_group.partition"      = aws_placement_group.partition.name
    "aws_placement_group.cluster"        = aws_placement_group.cluster.name
    "aws_ec2_serial_console_access.here" = data.aws_region.here.name
    "aws_ec2_tag.vpc"                    = "${data.aws_vpc.default.id},team"
  }
}
