# Interfaces of one's own, elastic addresses, groups and rules of all kinds.

data "aws_vpc" "default" {
  default = true
}

data "aws_ami" "tiny" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["awan-tiny-*"]
  }
}

resource "aws_vpc" "net" {
  cidr_block           = "10.40.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "interfaces" }
}

resource "aws_internet_gateway" "net" {
  vpc_id = aws_vpc.net.id
}

resource "aws_subnet" "net" {
  vpc_id            = aws_vpc.net.id
  cidr_block        = "10.40.1.0/24"
  availability_zone = "us-east-1a"
}

# Addresses that are chosen by hand, where none is given out.
resource "aws_subnet" "chosen" {
  vpc_id            = aws_vpc.net.id
  cidr_block        = "10.40.2.0/24"
  availability_zone = "us-east-1a"
}

resource "aws_default_security_group" "net" {
  vpc_id = aws_vpc.net.id
  ingress {
    protocol  = -1
    self      = true
    from_port = 0
    to_port   = 0
  }
  egress {
    protocol    = -1
    from_port   = 0
    to_port     = 0
    cidr_blocks = var.stage == 1 ? ["0.0.0.0/0"] : ["10.0.0.0/8"]
  }
}

resource "aws_security_group" "web" {
  name_prefix = "web-"
  description = "inline rules"
  vpc_id      = aws_vpc.net.id
  ingress {
    description = "web from stage ${var.stage}"
    protocol    = "tcp"
    from_port   = 80
    to_port     = var.stage == 1 ? 80 : 81
    cidr_blocks = ["10.0.0.0/8", "192.0.2.0/24"]
  }
  ingress {
    protocol         = "icmp"
    from_port        = -1
    to_port          = -1
    ipv6_cidr_blocks = ["2001:db8::/32"]
    self             = true
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_security_group" "db" {
  name   = "interfaces-db"
  vpc_id = aws_vpc.net.id
}

resource "aws_security_group_rule" "db" {
  type                     = "ingress"
  security_group_id        = aws_security_group.db.id
  protocol                 = "tcp"
  from_port                = 5432
  to_port                  = 5432
  source_security_group_id = aws_security_group.web.id
  description              = "from the web, stage ${var.stage}"
}

resource "aws_ec2_managed_prefix_list" "offices" {
  name           = "offices"
  address_family = "IPv4"
  max_entries    = 5
  entry {
    cidr        = "198.51.100.0/24"
    description = "one"
  }
}

resource "aws_vpc_security_group_ingress_rule" "offices" {
  security_group_id = aws_security_group.db.id
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  prefix_list_id    = aws_ec2_managed_prefix_list.offices.id
  description       = "stage ${var.stage}"
}

resource "aws_vpc_security_group_ingress_rule" "range" {
  security_group_id = aws_security_group.db.id
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = var.stage == 1 ? 8080 : 8090
  cidr_ipv4         = "10.40.0.0/16"
  tags              = { stage = "s${var.stage}" }
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.db.id
  ip_protocol       = "-1"
  cidr_ipv4         = var.stage == 1 ? "0.0.0.0/0" : "10.0.0.0/8"
}

resource "aws_network_interface" "plain" {
  subnet_id         = aws_subnet.chosen.id
  description       = "stage ${var.stage}"
  private_ips       = var.stage == 1 ? ["10.40.2.20", "10.40.2.21"] : ["10.40.2.20", "10.40.2.22"]
  security_groups   = var.stage == 1 ? [aws_security_group.web.id] : [aws_security_group.web.id, aws_security_group.db.id]
  source_dest_check = var.stage == 1
  tags              = { stage = "s${var.stage}" }
}

resource "aws_network_interface" "counted" {
  subnet_id         = aws_subnet.net.id
  private_ips_count = var.stage
}

resource "aws_network_interface" "first" {
  subnet_id       = aws_subnet.net.id
  security_groups = [aws_security_group.web.id]
}

resource "aws_network_interface" "second" {
  subnet_id = aws_subnet.net.id
  lifecycle {
    ignore_changes = [security_groups]
  }
}

resource "aws_instance" "legs" {
  ami           = data.aws_ami.tiny.id
  instance_type = "t3.small"
  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.first.id
  }
}

resource "aws_network_interface_attachment" "second" {
  instance_id          = aws_instance.legs.id
  network_interface_id = aws_network_interface.second.id
  device_index         = 1
}

resource "aws_network_interface_sg_attachment" "second" {
  security_group_id    = aws_security_group.db.id
  network_interface_id = aws_network_interface_attachment.second.network_interface_id
}

resource "aws_eip" "first" {
  domain            = "vpc"
  network_interface = aws_network_interface.first.id
  tags              = { stage = "s${var.stage}" }
  depends_on        = [aws_internet_gateway.net, aws_instance.legs]
}

resource "aws_eip" "loose" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.net]
}

resource "aws_eip_association" "loose" {
  allocation_id        = aws_eip.loose.id
  network_interface_id = aws_network_interface.plain.id
  private_ip_address   = "10.40.2.20"
}

data "aws_network_interface" "plain" {
  id         = aws_network_interface.plain.id
  depends_on = [aws_eip_association.loose]
}

data "aws_network_interfaces" "all" {
  filter {
    name   = "subnet-id"
    values = [aws_subnet.net.id]
  }
  depends_on = [aws_network_interface.plain, aws_network_interface.counted]
}

data "aws_security_group" "db" {
  id = aws_security_group.db.id
}

data "aws_security_groups" "all" {
  filter {
    name   = "vpc-id"
    values = [aws_vpc.net.id]
  }
  depends_on = [aws_security_group.db, aws_security_group.web]
}

data "aws_eip" "loose" {
  id         = aws_eip.loose.id
  depends_on = [aws_eip_association.loose]
}

data "aws_eips" "all" {
  depends_on = [aws_eip.first, aws_eip.loose]
}

data "aws_vpc_security_group_rule" "range" {
  security_group_rule_id = aws_vpc_security_group_ingress_rule.range.id
}

data "aws_vpc_security_group_rules" "db" {
  filter {
    name   = "group-id"
    values = [aws_security_group.db.id]
  }
  depends_on = [aws_vpc_security_group_ingress_rule.range]
}

# What can be imported by itself refers to nothing that is made here.
data "aws_subnet" "default" {
  availability_zone = "us-east-1a"
  default_for_az    = true
}

data "aws_security_group" "default" {
  name   = "default"
  vpc_id = data.aws_vpc.default.id
}

resource "aws_network_interface" "alone" {
  subnet_id   = data.aws_subnet.default.id
  description = "alone"
}

resource "aws_security_group" "alone" {
  name   = "interfaces-alone"
  vpc_id = data.aws_vpc.default.id
}

resource "aws_vpc_security_group_ingress_rule" "alone" {
  security_group_id = data.aws_security_group.default.id
  ip_protocol       = "udp"
  from_port         = 53
  to_port           = 53
  cidr_ipv4         = "192.0.2.0/24"
}

output "import" {
  value = {
    "aws_eip.loose"                             = aws_eip.loose.id
    "aws_network_interface.alone"               = aws_network_interface.alone.id
    "aws_security_group.alone"                  = aws_security_group.alone.id
    "aws_vpc_security_group_ingress_rule.alone" = aws_vpc_security_group_ingress_rule.alone.id
  }
}
