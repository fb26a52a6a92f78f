# The pattern of the community's VPC module: public, private and intra subnets in three zones, a NAT gateway in each,
# endpoints, and the VPC's default things taken over.

locals {
  zones = ["us-east-1a", "us-east-1b", "us-east-1c"]
  tags  = { Project = "shop", Stage = "stage-${var.stage}" }
}

resource "aws_vpc" "main" {
  cidr_block           = "10.20.0.0/16"
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge({ Name = "shop" }, local.tags)
}

resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.21.0.0/16"
}

resource "aws_subnet" "public" {
  count                   = 3
  vpc_id                  = aws_vpc.main.id
  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet("10.20.0.0/16", 8, count.index)
  map_public_ip_on_launch = var.stage == 2
  tags                    = merge({ Name = "shop-public-${local.zones[count.index]}" }, local.tags)
}

resource "aws_subnet" "private" {
  count             = 3
  vpc_id            = aws_vpc.main.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet("10.20.0.0/16", 8, 10 + count.index)
  tags              = merge({ Name = "shop-private-${local.zones[count.index]}" }, local.tags)
}

resource "aws_subnet" "intra" {
  count             = 3
  vpc_id            = aws_vpc_ipv4_cidr_block_association.more.vpc_id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet("10.21.0.0/16", 8, count.index)
  tags              = merge({ Name = "shop-intra-${local.zones[count.index]}" }, local.tags)
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
  tags   = merge({ Name = "shop" }, local.tags)
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  tags   = merge({ Name = "shop-public" }, local.tags)
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

resource "aws_route_table_association" "public" {
  count          = 3
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  count      = 3
  domain     = "vpc"
  tags       = merge({ Name = "shop-${local.zones[count.index]}" }, local.tags)
  depends_on = [aws_internet_gateway.main]
}

resource "aws_nat_gateway" "main" {
  count         = 3
  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[count.index].id
  tags          = merge({ Name = "shop-${local.zones[count.index]}" }, local.tags)
  depends_on    = [aws_internet_gateway.main]
}

resource "aws_route_table" "private" {
  count  = 3
  vpc_id = aws_vpc.main.id
  tags   = merge({ Name = "shop-private-${local.zones[count.index]}" }, local.tags)
}

resource "aws_route" "private" {
  count                  = 3
  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.main[count.index].id
}

resource "aws_route_table_association" "private" {
  count          = 3
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

resource "aws_route_table" "intra" {
  vpc_id = aws_vpc.main.id
  tags   = merge({ Name = "shop-intra" }, local.tags)
}

resource "aws_route_table_association" "intra" {
  count          = 3
  subnet_id      = aws_subnet.intra[count.index].id
  route_table_id = aws_route_table.intra.id
}

resource "aws_default_route_table" "main" {
  default_route_table_id = aws_vpc.main.default_route_table_id
  tags                   = merge({ Name = "shop-default" }, local.tags)
}

resource "aws_default_network_acl" "main" {
  default_network_acl_id = aws_vpc.main.default_network_acl_id
  ingress {
    rule_no    = 100
    protocol   = "-1"
    action     = "allow"
    cidr_block = "0.0.0.0/0"
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
  tags = merge({ Name = "shop-default" }, local.tags)
  lifecycle { ignore_changes = [subnet_ids] }
}

resource "aws_network_acl" "intra" {
  vpc_id     = aws_vpc.main.id
  subnet_ids = aws_subnet.intra[*].id
  tags       = merge({ Name = "shop-intra" }, local.tags)
}

resource "aws_network_acl_rule" "intra" {
  for_each       = { in = false, out = true }
  network_acl_id = aws_network_acl.intra.id
  egress         = each.value
  rule_number    = 100
  rule_action    = "allow"
  protocol       = "-1"
  cidr_block     = "10.20.0.0/15"
}

resource "aws_default_security_group" "main" {
  vpc_id = aws_vpc.main.id
  tags   = merge({ Name = "shop-default" }, local.tags)
}

resource "aws_security_group" "endpoints" {
  name_prefix = "shop-endpoints-"
  description = "Who may call services from inside"
  vpc_id      = aws_vpc.main.id
  ingress {
    description = "HTTPS from the VPC"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = [aws_vpc.main.cidr_block]
  }
  tags = local.tags
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.us-east-1.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat([aws_route_table.intra.id], var.stage == 2 ? aws_route_table.private[*].id : [])
  tags              = merge({ Name = "shop-s3" }, local.tags)
}

resource "aws_vpc_endpoint" "ec2" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.us-east-1.ec2"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge({ Name = "shop-ec2" }, local.tags)
}

resource "aws_vpc_dhcp_options" "main" {
  domain_name         = "shop.internal"
  domain_name_servers = ["AmazonProvidedDNS"]
  tags                = merge({ Name = "shop" }, local.tags)
}

resource "aws_vpc_dhcp_options_association" "main" {
  vpc_id          = aws_vpc.main.id
  dhcp_options_id = aws_vpc_dhcp_options.main.id
}

output "import" {
  value = {
    "aws_vpc.main"              = aws_vpc.main.id
    "aws_internet_gateway.main" = aws_internet_gateway.main.id
    "aws_subnet.public[0]"      = aws_subnet.public[0].id
    "aws_eip.nat[0]"            = aws_eip.nat[0].id
    "aws_nat_gateway.main[0]"   = aws_nat_gateway.main[0].id
    "aws_route_table.public"    = aws_route_table.public.id
  }
}
