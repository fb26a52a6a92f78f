# Both families: ranges of a VPC and of subnets, addresses, the way out that only IPv6 has.

data "aws_ami" "tiny" {
  owners      = ["amazon"]
  most_recent = true
}

resource "aws_vpc" "main" {
  cidr_block                       = "10.44.0.0/16"
  assign_generated_ipv6_cidr_block = true
}

resource "aws_vpc" "later" {
  cidr_block                       = "10.45.0.0/16"
  assign_generated_ipv6_cidr_block = var.stage == 2
}

# Which of two ranges the provider calls the VPC's own, it does not know after an import; so this one is not imported.
resource "aws_vpc" "wide" {
  cidr_block                       = "10.46.0.0/16"
  assign_generated_ipv6_cidr_block = true
}

resource "aws_vpc_ipv6_cidr_block_association" "second" {
  vpc_id                           = aws_vpc.wide.id
  assign_generated_ipv6_cidr_block = true
}

resource "aws_subnet" "both" {
  vpc_id                          = aws_vpc.main.id
  cidr_block                      = "10.44.1.0/24"
  ipv6_cidr_block                 = cidrsubnet(aws_vpc.main.ipv6_cidr_block, 8, 1)
  assign_ipv6_address_on_creation = var.stage == 2
}

resource "aws_subnet" "later" {
  vpc_id          = aws_vpc.main.id
  cidr_block      = "10.44.2.0/24"
  ipv6_cidr_block = var.stage == 1 ? null : cidrsubnet(aws_vpc.main.ipv6_cidr_block, 8, 2)
}

resource "aws_internet_gateway" "door" {
  vpc_id = aws_vpc.main.id
}

resource "aws_egress_only_internet_gateway" "out" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.door.id
  }
  route {
    ipv6_cidr_block = "::/0"
    gateway_id      = aws_internet_gateway.door.id
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "out" {
  route_table_id              = aws_route_table.private.id
  destination_ipv6_cidr_block = "::/0"
  egress_only_gateway_id      = aws_egress_only_internet_gateway.out.id
}

resource "aws_route_table_association" "both" {
  subnet_id      = aws_subnet.both.id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "web" {
  vpc_id = aws_vpc.main.id
  ingress {
    protocol         = "tcp"
    from_port        = 443
    to_port          = 442 + var.stage
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
  egress {
    protocol         = "-1"
    from_port        = 0
    to_port          = 0
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_default_network_acl" "main" {
  default_network_acl_id = aws_vpc.main.default_network_acl_id
  subnet_ids             = [aws_subnet.both.id, aws_subnet.later.id]
  ingress {
    rule_no         = 101
    protocol        = "-1"
    action          = "allow"
    ipv6_cidr_block = "::/0"
    from_port       = 0
    to_port         = 0
  }
  egress {
    rule_no         = 101
    protocol        = "-1"
    action          = "allow"
    ipv6_cidr_block = "::/0"
    from_port       = 0
    to_port         = 0
  }
}

resource "aws_network_interface" "leg" {
  subnet_id          = aws_subnet.both.id
  ipv6_address_count = var.stage
}

resource "aws_network_interface" "named" {
  subnet_id      = aws_subnet.both.id
  ipv6_addresses = [cidrhost(aws_subnet.both.ipv6_cidr_block, var.stage == 1 ? 16 : 17)]
}

resource "aws_instance" "guest" {
  ami                    = data.aws_ami.tiny.id
  instance_type          = "t3.micro"
  subnet_id              = aws_subnet.both.id
  ipv6_address_count     = 1
  vpc_security_group_ids = [aws_security_group.web.id]
  metadata_options {
    http_endpoint      = "enabled"
    http_protocol_ipv6 = var.stage == 1 ? "disabled" : "enabled"
  }
}

data "aws_vpc" "main" {
  id         = aws_vpc.main.id
  depends_on = [aws_subnet.both]
}

data "aws_subnet" "both" {
  id = aws_subnet.both.id
}

data "aws_route" "out" {
  route_table_id              = aws_route.out.route_table_id
  destination_ipv6_cidr_block = "::/0"
}

data "aws_network_interface" "leg" {
  id = aws_network_interface.leg.id
}

output "seen" {
  value = {
    vpc    = data.aws_vpc.main.ipv6_cidr_block
    subnet = data.aws_subnet.both.ipv6_cidr_block
    gate   = data.aws_route.out.egress_only_gateway_id
    leg    = length(data.aws_network_interface.leg.ipv6_addresses)
    guest  = aws_instance.guest.ipv6_addresses
  }
}

output "import" {
  value = {
    "aws_vpc.main"                         = aws_vpc.main.id
    "aws_subnet.both"                      = aws_subnet.both.id
    "aws_subnet.later"                     = aws_subnet.later.id
    "aws_internet_gateway.door"            = aws_internet_gateway.door.id
    "aws_egress_only_internet_gateway.out" = aws_egress_only_internet_gateway.out.id
    "aws_route_table.public"               = aws_route_table.public.id
    "aws_route_table.private"              = aws_route_table.private.id
    "aws_route.out"                        = "${aws_route_table.private.id}_::/0"
    "aws_security_group.web"               = aws_security_group.web.id
    "aws_default_network_acl.main"         = aws_vpc.main.default_network_acl_id
    "aws_network_interface.leg"            = aws_network_interface.leg.id
    "aws_network_interface.named"          = aws_network_interface.named.id
    "aws_instance.guest"                   = aws_instance.guest.id
  }
}
