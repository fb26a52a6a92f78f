# Guests in the subnets of the community module's pattern (tests/terraform/community.tf). Their groups let in more than its
# routes and network ACLs do, so that these decide.

data "aws_ami" "tiny" {
  owners      = ["amazon"]
  most_recent = true
  name_regex  = "^awan-tiny-"
}

resource "aws_security_group" "guest" {
  for_each = toset(["bastion", "inside"])
  name     = "shop-${each.key}"
  vpc_id   = aws_vpc.main.id
}

resource "aws_vpc_security_group_egress_rule" "all" {
  for_each          = aws_security_group.guest
  security_group_id = each.value.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "some" {
  for_each = {
    "SSH from anywhere"     = { to = "bastion", protocol = "tcp", ports = [22, 22], cidr = "0.0.0.0/0" }
    "Pings from inside"     = { to = "bastion", protocol = "icmp", ports = [8, -1], from = "inside" }
    "SSH from anywhere too" = { to = "inside", protocol = "tcp", ports = [22, 22], cidr = "0.0.0.0/0" }
    "Pings from anywhere"   = { to = "inside", protocol = "icmp", ports = [8, -1], cidr = "0.0.0.0/0" }
    "Web among themselves"  = { to = "inside", protocol = "tcp", ports = [8080, 8080], from = "inside" }
  }
  security_group_id            = aws_security_group.guest[each.value.to].id
  description                  = each.key
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.ports[0]
  to_port                      = each.value.ports[1]
  cidr_ipv4                    = lookup(each.value, "cidr", null)
  referenced_security_group_id = try(aws_security_group.guest[each.value.from].id, null)
}

resource "aws_instance" "guest" {
  for_each = {
    public    = { subnet = aws_subnet.public[0].id, group = "bastion" }
    private-a = { subnet = aws_subnet.private[0].id, group = "inside" }
    private-b = { subnet = aws_subnet.private[1].id, group = "inside" }
    intra     = { subnet = aws_subnet.intra[2].id, group = "inside" }
  }
  ami                    = data.aws_ami.tiny.id
  instance_type          = "t3.nano"
  key_name               = "key"
  subnet_id              = each.value.subnet
  vpc_security_group_ids = [aws_security_group.guest[each.value.group].id]
  tags                   = merge({ Name = "shop-${each.key}" }, local.tags)
}

output "guests" {
  value = aws_instance.guest
}

output "nat" {
  value = aws_eip.nat[*].public_ip
}

output "intra" {
  value = { table = aws_route_table.intra.id, acl = aws_network_acl.intra.id, gateway = aws_nat_gateway.main[2].id }
}
