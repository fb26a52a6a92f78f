# What is in a VPC: ranges, subnets, ways in and out, network ACLs, DHCP options.
# Of associations and routes AWS knows no update, so the provider makes them anew:
# replaces: aws_network_acl_rule.ssh

data "aws_availability_zones" "up" {
  state = "available"
}

resource "aws_default_vpc" "default" {}

resource "aws_default_subnet" "first" {
  availability_zone = data.aws_availability_zones.up.names[0]
  depends_on        = [aws_default_vpc.default]
}

resource "aws_default_vpc_dhcp_options" "default" {}

resource "aws_vpc" "main" {
  cidr_block           = "10.40.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = var.stage == 2
  tags                 = { Name = "network-${var.stage}" }
}

resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "100.64.0.0/16"
}

resource "aws_subnet" "public" {
  vpc_id                  = aws_vpc.main.id
  cidr_block              = "10.40.1.0/24"
  availability_zone       = data.aws_availability_zones.up.names[0]
  map_public_ip_on_launch = var.stage == 2
  tags                    = { Name = "public-${var.stage}" }
}

resource "aws_subnet" "private" {
  vpc_id            = aws_vpc_ipv4_cidr_block_association.more.vpc_id
  cidr_block        = "100.64.1.0/24"
  availability_zone = data.aws_availability_zones.up.names[1]
}

resource "aws_internet_gateway" "door" {
  vpc_id = aws_vpc.main.id
  tags   = { Name = "door-${var.stage}" }
}

resource "aws_vpc" "other" {
  cidr_block       = "10.41.0.0/16"
  instance_tenancy = "default"
}

resource "aws_internet_gateway" "other" {}

resource "aws_internet_gateway_attachment" "other" {
  internet_gateway_id = aws_internet_gateway.other.id
  vpc_id              = aws_vpc.other.id
}

resource "aws_eip" "nat" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.door]
}

resource "aws_nat_gateway" "out" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public.id
  tags          = { Name = "out-${var.stage}" }
  depends_on    = [aws_internet_gateway.door]
}

resource "aws_nat_gateway" "inside" {
  connectivity_type = "private"
  subnet_id         = aws_subnet.private.id
}

resource "aws_default_route_table" "main" {
  default_route_table_id = aws_vpc.main.default_route_table_id
  dynamic "route" {
    for_each = var.stage == 2 ? ["192.0.2.0/24"] : []
    content {
      cidr_block = route.value
      gateway_id = aws_internet_gateway.door.id
    }
  }
  tags = { Name = "main-${var.stage}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.door.id
  }
  tags = { Name = "public-${var.stage}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = var.stage == 1 ? aws_nat_gateway.out.id : aws_nat_gateway.inside.id
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  subnet_id      = aws_subnet.private.id
  route_table_id = var.stage == 1 ? aws_route_table.private.id : aws_route_table.public.id
}

resource "aws_route_table" "other" {
  vpc_id = aws_vpc.other.id
}

resource "aws_main_route_table_association" "other" {
  vpc_id         = aws_vpc.other.id
  route_table_id = aws_route_table.other.id
}

resource "aws_network_acl" "guard" {
  vpc_id = aws_vpc.main.id
  ingress {
    rule_no    = 100
    protocol   = "tcp"
    action     = "allow"
    cidr_block = "0.0.0.0/0"
    from_port  = 443
    to_port    = 442 + var.stage
  }
  ingress {
    rule_no    = 110
    protocol   = "icmp"
    action     = "deny"
    cidr_block = "192.0.2.0/24"
    icmp_type  = 8
    icmp_code  = -1
    from_port  = 0
    to_port    = 0
  }
  egress {
    rule_no    = 100
    protocol   = "-1"
    action     = "allow"
    cidr_block = "0.0.0.0/0"
    from_port  = 0
    to_port    = 0
  }
  tags = { Name = "guard-${var.stage}" }
}

resource "aws_network_acl_association" "guard" {
  network_acl_id = aws_network_acl.guard.id
  subnet_id      = aws_subnet.public.id
}

resource "aws_network_acl" "ruled" {
  vpc_id = aws_vpc.other.id
}

resource "aws_network_acl_rule" "ssh" {
  network_acl_id = aws_network_acl.ruled.id
  rule_number    = 200
  egress         = false
  protocol       = "tcp"
  rule_action    = var.stage == 1 ? "allow" : "deny"
  cidr_block     = "10.0.0.0/8"
  from_port      = 22
  to_port        = 22
}

resource "aws_default_network_acl" "other" {
  default_network_acl_id = aws_vpc.other.default_network_acl_id
  ingress {
    rule_no    = 100
    protocol   = "-1"
    action     = "allow"
    cidr_block = var.stage == 1 ? "0.0.0.0/0" : "10.0.0.0/8"
    from_port  = 0
    to_port    = 0
  }
  egress {
    rule_no    = 100
    protocol   = "-1"
    action     = "allow"
    cidr_block = "0.0.0.0/0"
    from_port  = 0
    to_port    = 0
  }
}

resource "aws_vpc_dhcp_options" "corp" {
  domain_name          = "corp.example"
  domain_name_servers  = ["AmazonProvidedDNS"]
  ntp_servers          = ["192.0.2.1"]
  netbios_name_servers = ["192.0.2.2"]
  netbios_node_type    = "2"
  tags                 = { Name = "corp-${var.stage}" }
}

resource "aws_vpc_dhcp_options" "plain" {
  domain_name_servers = ["192.0.2.3", "192.0.2.4"]
}

resource "aws_vpc_dhcp_options_association" "main" {
  vpc_id          = aws_vpc.main.id
  dhcp_options_id = var.stage == 1 ? aws_vpc_dhcp_options.corp.id : aws_vpc_dhcp_options.plain.id
}

data "aws_vpc" "main" {
  id         = aws_vpc.main.id
  depends_on = [aws_vpc_ipv4_cidr_block_association.more]
}

data "aws_vpcs" "mine" {
  filter {
    name   = "vpc-id"
    values = [aws_vpc.main.id, aws_vpc.other.id]
  }
}

data "aws_subnet" "public" {
  id = aws_subnet.public.id
}

data "aws_subnets" "main" {
  filter {
    name   = "vpc-id"
    values = [aws_vpc.main.id]
  }
  depends_on = [aws_subnet.public, aws_subnet.private]
}

data "aws_route_table" "public" {
  subnet_id  = aws_subnet.public.id
  depends_on = [aws_route_table_association.public]
}

data "aws_route_tables" "main" {
  vpc_id     = aws_vpc.main.id
  depends_on = [aws_route_table.public, aws_route_table.private]
}

data "aws_route" "out" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
}

data "aws_internet_gateway" "door" {
  internet_gateway_id = aws_internet_gateway.door.id
}

data "aws_nat_gateway" "out" {
  id = aws_nat_gateway.out.id
}

data "aws_nat_gateways" "main" {
  vpc_id     = aws_vpc.main.id
  depends_on = [aws_nat_gateway.out, aws_nat_gateway.inside]
}

data "aws_network_acls" "main" {
  vpc_id     = aws_vpc.main.id
  depends_on = [aws_network_acl.guard]
}

data "aws_vpc_dhcp_options" "corp" {
  dhcp_options_id = aws_vpc_dhcp_options.corp.id
}

output "counts" {
  value = {
    ranges = length(data.aws_vpc.main.cidr_block_associations)
    acls   = length(data.aws_network_acls.main.ids)
    nat    = length(data.aws_nat_gateways.main.ids)
  }
}

output "import" {
  value = {
    "aws_vpc.main"                             = aws_vpc.main.id
    "aws_vpc.other"                            = aws_vpc.other.id
    "aws_vpc_ipv4_cidr_block_association.more" = aws_vpc_ipv4_cidr_block_association.more.id
    "aws_subnet.public"                        = aws_subnet.public.id
    "aws_subnet.private"                       = aws_subnet.private.id
    "aws_internet_gateway.door"                = aws_internet_gateway.door.id
    "aws_internet_gateway.other"               = aws_internet_gateway.other.id
    "aws_internet_gateway_attachment.other"    = "${aws_internet_gateway.other.id}:${aws_vpc.other.id}"
    "aws_eip.nat"                              = aws_eip.nat.id
    "aws_nat_gateway.out"                      = aws_nat_gateway.out.id
    "aws_nat_gateway.inside"                   = aws_nat_gateway.inside.id
    "aws_route_table.public"                   = aws_route_table.public.id
    "aws_route_table.private"                  = aws_route_table.private.id
    "aws_route.out"                            = "${aws_route_table.private.id}_0.0.0.0/0"
    "aws_route_table_association.public"       = "${aws_subnet.public.id}/${aws_route_table.public.id}"
    "aws_default_route_table.main"             = aws_vpc.main.id
    "aws_network_acl.guard"                    = aws_network_acl.guard.id
    "aws_network_acl.ruled"                    = aws_network_acl.ruled.id
    "aws_network_acl_rule.ssh"                 = "${aws_network_acl.ruled.id}:200:tcp:false"
    "aws_default_network_acl.other"            = aws_vpc.other.default_network_acl_id
    "aws_vpc_dhcp_options.corp"                = aws_vpc_dhcp_options.corp.id
    "aws_vpc_dhcp_options.plain"               = aws_vpc_dhcp_options.plain.id
    "aws_vpc_dhcp_options_association.main"    = aws_vpc.main.id
  }
}
