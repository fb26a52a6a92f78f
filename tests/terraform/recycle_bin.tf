# Rules of the recycle bin: for what has a tag, and for all of a kind.

resource "aws_rbin_rule" "tagged" {
  description   = "stage ${var.stage}"
  resource_type = "EBS_SNAPSHOT"
  resource_tags {
    resource_tag_key   = "keep"
    resource_tag_value = "s${var.stage}"
  }
  retention_period {
    retention_period_value = 6 + var.stage
    retention_period_unit  = "DAYS"
  }
  tags = { stage = "s${var.stage}" }
}

resource "aws_rbin_rule" "images" {
  description   = "all images"
  resource_type = "EC2_IMAGE"
  retention_period {
    retention_period_value = 365
    retention_period_unit  = "DAYS"
  }
}

output "import" {
  value = {
    "aws_rbin_rule.tagged" = aws_rbin_rule.tagged.id
    "aws_rbin_rule.images" = aws_rbin_rule.images.id
  }
}
