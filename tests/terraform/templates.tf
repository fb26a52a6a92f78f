# Launch templates and what launches from them, capacity, and types of instances.
# Arguments that are only written, never read:
# import differs: aws_instance.first
# import differs: aws_key_pair.me
# import differs: aws_launch_template.main
# Another version of its template is another instance:
# replaces: aws_instance.latest

data "aws_region" "here" {}

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

data "aws_subnet" "first" {
  vpc_id            = data.aws_vpc.default.id
  availability_zone = "${data.aws_region.here.name}a"
}

# Types.

data "aws_ec2_instance_type" "small" {
  instance_type = "t3.small"
}

data "aws_ec2_instance_types" "of_two" {
  filter {
    name   = "vcpu-info.default-vcpus"
    values = ["2"]
  }
  filter {
    name   = "current-generation"
    values = ["true"]
  }
}

data "aws_ec2_instance_type_offering" "micro" {
  preferred_instance_types = ["x9.none", "t3.micro"]
  filter {
    name   = "instance-type"
    values = ["t3.micro", "t3.small"]
  }
}

data "aws_ec2_instance_type_offerings" "there" {
  location_type = "availability-zone"
  filter {
    name   = "location"
    values = [data.aws_subnet.first.availability_zone]
  }
}

resource "terraform_data" "types" {
  input = 1
  lifecycle {
    precondition {
      condition     = data.aws_ec2_instance_type.small.memory_size == 2048 && data.aws_ec2_instance_type.small.default_vcpus == 2
      error_message = "A t3.small has 2 GiB and two vCPUs."
    }
    precondition {
      condition     = contains(data.aws_ec2_instance_types.of_two.instance_types, "t3.micro")
      error_message = "A t3.micro has two vCPUs."
    }
    precondition {
      condition     = data.aws_ec2_instance_type_offering.micro.instance_type == "t3.micro"
      error_message = "The first that is offered is preferred."
    }
    precondition {
      condition     = contains(data.aws_ec2_instance_type_offerings.there.instance_types, "t3.micro")
      error_message = "A zone offers a t3.micro."
    }
  }
}

# Templates.

resource "aws_key_pair" "me" {
  key_name   = "templates"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home"
}

resource "aws_security_group" "one" {
  count  = 2
  name   = "templates-${count.index}"
  vpc_id = data.aws_vpc.default.id
}

resource "aws_placement_group" "apart" {
  name            = "templates-apart"
  strategy        = "partition"
  partition_count = 3
}

resource "aws_iam_role" "machine" {
  name = "templates-machine"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_instance_profile" "machine" {
  name = "templates-machine"
  role = aws_iam_role.machine.name
}

resource "aws_launch_template" "main" {
  name                                 = "templates-main"
  description                          = "stage ${var.stage}"
  update_default_version               = true
  image_id                             = data.aws_ami.tiny.id
  instance_type                        = var.stage == 1 ? "t3.micro" : "t3.small"
  key_name                             = aws_key_pair.me.key_name
  vpc_security_group_ids               = var.stage == 1 ? [aws_security_group.one[0].id] : aws_security_group.one[*].id
  user_data                            = base64encode("#!/bin/sh\necho ${var.stage}\n")
  disable_api_stop                     = var.stage == 2
  disable_api_termination              = false
  ebs_optimized                        = true
  instance_initiated_shutdown_behavior = var.stage == 1 ? "stop" : "terminate"

  block_device_mappings {
    device_name = data.aws_ami.tiny.root_device_name
    ebs {
      volume_size           = 7 + var.stage
      volume_type           = "gp3"
      iops                  = 3000 + var.stage
      throughput            = 125
      delete_on_termination = true
    }
  }
  block_device_mappings {
    device_name = "/dev/sdf"
    ebs {
      volume_size           = 1
      delete_on_termination = true
    }
  }

  capacity_reservation_specification {
    capacity_reservation_preference = var.stage == 1 ? "open" : "none"
  }
  credit_specification {
    cpu_credits = var.stage == 1 ? "standard" : "unlimited"
  }
  iam_instance_profile {
    name = aws_iam_instance_profile.machine.name
  }
  maintenance_options {
    auto_recovery = var.stage == 1 ? "default" : "disabled"
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = var.stage == 1 ? "optional" : "required"
    http_put_response_hop_limit = var.stage
    instance_metadata_tags      = "enabled"
  }
  monitoring {
    enabled = var.stage == 2
  }
  placement {
    availability_zone = data.aws_subnet.first.availability_zone
    group_name        = aws_placement_group.apart.name
    partition_number  = var.stage
    tenancy           = "default"
  }
  private_dns_name_options {
    hostname_type                     = "ip-name"
    enable_resource_name_dns_a_record = var.stage == 2
  }
  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "main", stage = "s${var.stage}" }
  }
  tag_specifications {
    resource_type = "volume"
    tags          = { Name = "main" }
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_launch_template" "interfaces" {
  name_prefix = "templates-interfaces-"
  image_id    = data.aws_ami.tiny.id

  network_interfaces {
    device_index                = 0
    description                 = "first, stage ${var.stage}"
    subnet_id                   = data.aws_subnet.first.id
    security_groups             = [aws_security_group.one[var.stage - 1].id]
    associate_public_ip_address = var.stage == 1
    delete_on_termination       = true
    ipv4_address_count          = 1
  }
}

resource "aws_launch_template" "any" {
  name     = "templates-any"
  image_id = data.aws_ami.tiny.id
  instance_requirements {
    vcpu_count {
      min = 1
      max = 1 + var.stage
    }
    memory_mib {
      min = 512
      max = 4096
    }
    memory_gib_per_vcpu {
      min = 0.5
    }
    allowed_instance_types = ["t3.*"]
    instance_generations   = ["current"]
    burstable_performance  = "included"
  }
}

data "aws_launch_template" "main" {
  name       = aws_launch_template.main.name
  depends_on = [aws_launch_template.main]
}

data "aws_launch_template" "tagged" {
  filter {
    name   = "launch-template-name"
    values = [aws_launch_template.any.name]
  }
}

# What is launched. The provider hashes again the hash of user data that a template says
# (hashicorp/terraform-provider-aws issue 30825), and takes the template's tags for its own to remove.

resource "aws_instance" "first" {
  launch_template {
    id      = aws_launch_template.main.id
    version = "1"
  }
  tags = { Name = "first", stage = "s${var.stage}" }
  lifecycle {
    ignore_changes = [user_data]
  }
}

resource "aws_instance" "latest" {
  instance_type = "t3.micro"
  launch_template {
    name    = aws_launch_template.interfaces.name
    version = aws_launch_template.interfaces.latest_version
  }
}

resource "aws_ec2_fleet" "now" {
  type                = "instant"
  terminate_instances = true

  launch_template_config {
    launch_template_specification {
      launch_template_id = aws_launch_template.any.id
      version            = "1"
    }
    override {
      instance_type     = "t3.micro"
      subnet_id         = data.aws_subnet.first.id
      weighted_capacity = 1
    }
  }
  on_demand_options {
    allocation_strategy = "prioritized"
  }
  target_capacity_specification {
    default_target_capacity_type = "on-demand"
    total_target_capacity        = 2
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_ec2_capacity_reservation" "open" {
  instance_type     = "t3.micro"
  instance_platform = "Linux/UNIX"
  availability_zone = data.aws_subnet.first.availability_zone
  instance_count    = var.stage
  tags              = { stage = "s${var.stage}" }
}

resource "aws_ec2_capacity_reservation" "targeted" {
  instance_type           = "t3.small"
  instance_platform       = "Linux/UNIX"
  availability_zone       = data.aws_subnet.first.availability_zone
  instance_count          = 1
  instance_match_criteria = "targeted"
  end_date_type           = "limited"
  end_date                = var.stage == 1 ? "2099-01-01T00:00:00Z" : "2099-02-01T00:00:00Z"
}

output "import" {
  value = {
    "aws_key_pair.me"                       = aws_key_pair.me.id
    "aws_placement_group.apart"             = aws_placement_group.apart.name
    "aws_security_group.one[0]"             = aws_security_group.one[0].id
    "aws_security_group.one[1]"             = aws_security_group.one[1].id
    "aws_iam_role.machine"                  = aws_iam_role.machine.name
    "aws_iam_instance_profile.machine"      = aws_iam_instance_profile.machine.name
    "aws_launch_template.main"              = aws_launch_template.main.id
    "aws_launch_template.interfaces"        = aws_launch_template.interfaces.id
    "aws_launch_template.any"               = aws_launch_template.any.id
    "aws_instance.first"                    = aws_instance.first.id
    "aws_ec2_capacity_reservation.open"     = aws_ec2_capacity_reservation.open.id
    "aws_ec2_capacity_reservation.targeted" = aws_ec2_capacity_reservation.targeted.id
  }
}
