# What every account begins with, a key and a group.
# The API tells nobody the text of a key pair's public key as it was given:
# import differs: aws_key_pair.me

data "aws_availability_zones" "up" {
  state = "available"
}

data "aws_caller_identity" "me" {}

data "aws_region" "here" {}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["awan-tiny-*"]
  }
}

resource "aws_key_pair" "me" {
  key_name   = "basics"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home"
  tags       = { stage = "s${var.stage}" }
}

resource "aws_security_group" "web" {
  name        = "basics-web"
  description = "web"
  vpc_id      = data.aws_vpc.default.id

  ingress {
    from_port   = 80
    to_port     = 79 + var.stage
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { stage = "s${var.stage}" }
}

output "import" {
  value = {
    "aws_key_pair.me"        = aws_key_pair.me.id
    "aws_security_group.web" = aws_security_group.web.id
  }
}
