# What connects VPCs and names ranges.
# Whether a peering was to be accepted is not read back:
# import differs: aws_vpc_peering_connection.ab

data "aws_region" "here" {}

resource "aws_vpc" "a" {
  cidr_block           = "10.61.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "a" }
}

resource "aws_vpc" "b" {
  cidr_block           = "10.62.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_vpc" "c" {
  cidr_block = "10.63.0.0/16"
}

resource "aws_subnet" "a" {
  vpc_id            = aws_vpc.a.id
  cidr_block        = "10.61.1.0/24"
  availability_zone = "${data.aws_region.here.name}a"
}

resource "aws_subnet" "a2" {
  vpc_id            = aws_vpc.a.id
  cidr_block        = "10.61.2.0/24"
  availability_zone = "${data.aws_region.here.name}b"
}

resource "aws_security_group" "a" {
  name   = "peers-a"
  vpc_id = aws_vpc.a.id
}

resource "aws_security_group" "a2" {
  name   = "peers-a2"
  vpc_id = aws_vpc.a.id
}

# Prefix lists. An entry's description stays: the provider's update of one sends a version that is over
# (hashicorp/terraform-provider-aws pull request 43661), which EC2 refuses too.

resource "aws_ec2_managed_prefix_list" "offices" {
  name           = "offices-${var.stage}"
  address_family = "IPv4"
  max_entries    = 2 + var.stage
  entry {
    cidr        = "10.0.0.0/8"
    description = "all of ten"
  }
  entry {
    cidr = "192.0.${var.stage}.0/24"
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_ec2_managed_prefix_list" "open" {
  name           = "open"
  address_family = "IPv6"
  max_entries    = 3
}

resource "aws_ec2_managed_prefix_list_entry" "one" {
  prefix_list_id = aws_ec2_managed_prefix_list.open.id
  cidr           = "2001:db8::/32"
  description    = "one"
}

data "aws_prefix_list" "s3" {
  name = "com.amazonaws.${data.aws_region.here.name}.s3"
}

data "aws_ec2_managed_prefix_list" "offices" {
  id = aws_ec2_managed_prefix_list.offices.id
}

data "aws_ec2_managed_prefix_lists" "services" {
  filter {
    name   = "owner-id"
    values = ["AWS"]
  }
}

# Peering.

resource "aws_vpc_peering_connection" "ab" {
  vpc_id      = aws_vpc.a.id
  peer_vpc_id = aws_vpc.b.id
  auto_accept = true
  tags        = { stage = "s${var.stage}" }
}

resource "aws_vpc_peering_connection_options" "ab" {
  vpc_peering_connection_id = aws_vpc_peering_connection.ab.id
  requester {
    allow_remote_vpc_dns_resolution = var.stage == 1
  }
  accepter {
    allow_remote_vpc_dns_resolution = true
  }
}

resource "aws_vpc_peering_connection" "ac" {
  vpc_id      = aws_vpc.a.id
  peer_vpc_id = aws_vpc.c.id
}

resource "aws_vpc_peering_connection_accepter" "ac" {
  vpc_peering_connection_id = aws_vpc_peering_connection.ac.id
  auto_accept               = true
}

data "aws_vpc_peering_connection" "ab" {
  id         = aws_vpc_peering_connection.ab.id
  depends_on = [aws_vpc_peering_connection_options.ab]
}

data "aws_vpc_peering_connections" "of_a" {
  filter {
    name   = "requester-vpc-info.vpc-id"
    values = [aws_vpc.a.id]
  }
  depends_on = [aws_vpc_peering_connection.ab, aws_vpc_peering_connection.ac]
}

# Egress-only gateways, and routes.

resource "aws_egress_only_internet_gateway" "a" {
  vpc_id = aws_vpc.a.id
  tags   = { stage = "s${var.stage}" }
}

resource "aws_route_table" "a" {
  vpc_id = aws_vpc.a.id
}

resource "aws_route" "peer" {
  route_table_id            = aws_route_table.a.id
  destination_cidr_block    = aws_vpc.b.cidr_block
  vpc_peering_connection_id = aws_vpc_peering_connection.ab.id
}

resource "aws_route" "out" {
  route_table_id              = aws_route_table.a.id
  destination_ipv6_cidr_block = "::/0"
  egress_only_gateway_id      = aws_egress_only_internet_gateway.a.id
}

resource "aws_route" "offices" {
  route_table_id             = aws_route_table.a.id
  destination_prefix_list_id = aws_ec2_managed_prefix_list.offices.id
  vpc_peering_connection_id  = aws_vpc_peering_connection.ab.id
}

# Endpoints.

data "aws_vpc_endpoint_service" "ec2" {
  service      = "ec2"
  service_type = "Interface"
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id       = aws_vpc.a.id
  service_name = "com.amazonaws.${data.aws_region.here.name}.s3"
  tags         = { stage = "s${var.stage}" }
}

resource "aws_vpc_endpoint_route_table_association" "s3" {
  vpc_endpoint_id = aws_vpc_endpoint.s3.id
  route_table_id  = aws_route_table.a.id
}

resource "aws_vpc_endpoint_policy" "s3" {
  vpc_endpoint_id = aws_vpc_endpoint.s3.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Sid = "Stage${var.stage}", Effect = "Allow", Principal = "*", Action = "s3:*", Resource = "*" }]
  })
}

resource "aws_vpc_endpoint" "dynamodb" {
  vpc_id          = aws_vpc.a.id
  service_name    = "com.amazonaws.${data.aws_region.here.name}.dynamodb"
  route_table_ids = var.stage == 1 ? [] : [aws_route_table.a.id]
}

resource "aws_vpc_endpoint" "ec2" {
  vpc_id              = aws_vpc.a.id
  service_name        = data.aws_vpc_endpoint_service.ec2.service_name
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = var.stage == 2
  subnet_ids          = [aws_subnet.a.id]
  security_group_ids  = var.stage == 1 ? [aws_security_group.a.id] : [aws_security_group.a2.id]
}

resource "aws_vpc_endpoint" "sts" {
  vpc_id            = aws_vpc.a.id
  service_name      = "com.amazonaws.${data.aws_region.here.name}.sts"
  vpc_endpoint_type = "Interface"
}

resource "aws_vpc_endpoint_subnet_association" "sts" {
  vpc_endpoint_id = aws_vpc_endpoint.sts.id
  subnet_id       = aws_subnet.a2.id
}

resource "aws_vpc_endpoint_security_group_association" "sts" {
  vpc_endpoint_id   = aws_vpc_endpoint.sts.id
  security_group_id = aws_security_group.a.id
}

data "aws_vpc_endpoint" "ec2" {
  id = aws_vpc_endpoint.ec2.id
}

# Flow logs.

resource "aws_flow_log" "a" {
  vpc_id               = aws_vpc.a.id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = "arn:aws:s3:::peers-flows/"
  tags                 = { stage = "s${var.stage}" }
}

resource "aws_cloudwatch_log_group" "flows" {
  name              = "/peers/flows"
  retention_in_days = var.stage == 1 ? 7 : 30
  tags              = { stage = "s${var.stage}" }
}

resource "aws_iam_role" "flows" {
  name = "peers-flows"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "vpc-flow-logs.amazonaws.com" } }]
  })
}

resource "aws_flow_log" "group" {
  vpc_id                   = aws_vpc.a.id
  traffic_type             = "REJECT"
  log_destination          = aws_cloudwatch_log_group.flows.arn
  iam_role_arn             = aws_iam_role.flows.arn
  max_aggregation_interval = 60
}

output "import" {
  value = {
    "aws_vpc.a"                                   = aws_vpc.a.id
    "aws_vpc.b"                                   = aws_vpc.b.id
    "aws_subnet.a"                                = aws_subnet.a.id
    "aws_security_group.a2"                       = aws_security_group.a2.id
    "aws_route_table.a"                           = aws_route_table.a.id
    "aws_vpc_peering_connection.ab"               = aws_vpc_peering_connection.ab.id
    "aws_vpc_peering_connection_options.ab"       = aws_vpc_peering_connection.ab.id
    "aws_ec2_managed_prefix_list.offices"         = aws_ec2_managed_prefix_list.offices.id
    "aws_ec2_managed_prefix_list.open"            = aws_ec2_managed_prefix_list.open.id
    "aws_ec2_managed_prefix_list_entry.one"       = "${aws_ec2_managed_prefix_list.open.id},2001:db8::/32"
    "aws_egress_only_internet_gateway.a"          = aws_egress_only_internet_gateway.a.id
    "aws_flow_log.a"                              = aws_flow_log.a.id
    "aws_flow_log.group"                          = aws_flow_log.group.id
    "aws_cloudwatch_log_group.flows"              = aws_cloudwatch_log_group.flows.name
    "aws_iam_role.flows"                          = aws_iam_role.flows.name
    "aws_vpc_endpoint.s3"                         = aws_vpc_endpoint.s3.id
    "aws_vpc_endpoint.dynamodb"                   = aws_vpc_endpoint.dynamodb.id
    "aws_vpc_endpoint.ec2"                        = aws_vpc_endpoint.ec2.id
    "aws_vpc_endpoint_route_table_association.s3" = "${aws_vpc_endpoint.s3.id}/${aws_route_table.a.id}"
    "aws_vpc_endpoint_policy.s3"                  = aws_vpc_endpoint.s3.id
    "aws_route.peer"                              = "${aws_route_table.a.id}_10.62.0.0/16"
    "aws_route.out"                               = "${aws_route_table.a.id}_::/0"
    "aws_route.offices"                           = "${aws_route_table.a.id}_${aws_ec2_managed_prefix_list.offices.id}"
  }
}
