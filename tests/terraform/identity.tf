# Users, roles, policies, profiles, and parameters.
# The secret of a key is told once:
# import differs: aws_iam_access_key.ci
# Where a value is a secret is known to the configuration only:
# import differs: aws_ssm_parameter.text

data "aws_caller_identity" "me" {}

data "aws_partition" "here" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = var.stage == 1 ? ["ec2.amazonaws.com"] : ["ec2.amazonaws.com", "ssm.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "look" {
  statement {
    sid       = "Look"
    actions   = var.stage == 1 ? ["ec2:Describe*"] : ["ec2:Describe*", "ec2:Get*"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "web" {
  name                 = "identity-web"
  path                 = "/servers/"
  description          = "stage ${var.stage}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 3600 * var.stage
  permissions_boundary = var.stage == 1 ? null : aws_iam_policy.look.arn
  tags                 = { stage = "s${var.stage}" }
}

resource "aws_iam_role_policy" "web" {
  name   = "inline"
  role   = aws_iam_role.web.id
  policy = data.aws_iam_policy_document.look.json
}

resource "aws_iam_policy" "look" {
  name        = "identity-look"
  description = "looks"
  policy      = data.aws_iam_policy_document.look.json
  tags        = { stage = "s${var.stage}" }
}

resource "aws_iam_role_policy_attachment" "own" {
  role       = aws_iam_role.web.name
  policy_arn = aws_iam_policy.look.arn
}

resource "aws_iam_role_policy_attachment" "common" {
  role       = aws_iam_role.web.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "web" {
  name = "identity-web"
  role = aws_iam_role.web.name
  tags = { stage = "s${var.stage}" }
}

resource "aws_iam_instance_profile" "other" {
  name = "identity-other"
  role = aws_iam_role.web.name
}

resource "aws_iam_user" "ci" {
  name = "identity-ci"
  path = var.stage == 1 ? "/" : "/robots/"
  tags = { stage = "s${var.stage}" }
}

resource "aws_iam_user_policy" "ci" {
  name   = "inline"
  user   = aws_iam_user.ci.name
  policy = data.aws_iam_policy_document.look.json
}

resource "aws_iam_user_policy_attachment" "ci" {
  user       = aws_iam_user.ci.name
  policy_arn = aws_iam_policy.look.arn
}

resource "aws_iam_access_key" "ci" {
  user   = aws_iam_user.ci.name
  status = var.stage == 1 ? "Active" : "Inactive"
}

resource "aws_iam_group" "staff" {
  name = "identity-staff"
}

resource "aws_iam_group_policy_attachment" "staff" {
  group      = aws_iam_group.staff.name
  policy_arn = aws_iam_policy.look.arn
}

resource "aws_iam_group_membership" "staff" {
  name  = "staff"
  group = aws_iam_group.staff.name
  users = [aws_iam_user.ci.name]
}

resource "aws_iam_account_alias" "me" {
  account_alias = "identity-alias-${substr(data.aws_caller_identity.me.account_id, 0, 6)}"
}

resource "aws_ssm_parameter" "text" {
  name        = "/identity/text"
  type        = "String"
  value       = "stage ${var.stage}"
  description = "stage ${var.stage}"
  tags        = { stage = "s${var.stage}" }
}

resource "aws_ssm_parameter" "image" {
  name      = "/identity/image"
  type      = "String"
  data_type = "aws:ec2:image"
  value     = data.aws_ssm_parameter.tiny.insecure_value
}

data "aws_ssm_parameter" "tiny" {
  name = "/aws/service/awan/tiny/latest/image_id"
}

data "aws_ssm_parameters_by_path" "all" {
  path       = "/identity"
  depends_on = [aws_ssm_parameter.text]
}

data "aws_iam_role" "web" {
  name = aws_iam_role.web.name
}

data "aws_iam_policy" "common" {
  name = "AdministratorAccess"
}

data "aws_iam_instance_profile" "web" {
  name = aws_iam_instance_profile.web.name
}

data "aws_iam_user" "ci" {
  user_name = aws_iam_user.ci.name
}

resource "aws_instance" "web" {
  ami                  = nonsensitive(data.aws_ssm_parameter.tiny.insecure_value)
  instance_type        = "t3.micro"
  iam_instance_profile = var.stage == 1 ? aws_iam_instance_profile.web.name : aws_iam_instance_profile.other.name
}

output "import" {
  value = {
    "aws_iam_role.web"                             = aws_iam_role.web.name
    "aws_iam_role_policy.web"                      = "${aws_iam_role.web.name}:inline"
    "aws_iam_policy.look"                          = aws_iam_policy.look.arn
    "aws_iam_role_policy_attachment.own"           = "${aws_iam_role.web.name}/${aws_iam_policy.look.arn}"
    "aws_iam_instance_profile.web"                 = aws_iam_instance_profile.web.name
    "aws_iam_user.ci"                              = aws_iam_user.ci.name
    "aws_iam_user_policy.ci"                       = "${aws_iam_user.ci.name}:inline"
    "aws_iam_user_policy_attachment.ci"            = "${aws_iam_user.ci.name}/${aws_iam_policy.look.arn}"
    "aws_iam_group.staff"                          = aws_iam_group.staff.name
    "aws_iam_account_alias.me"                     = aws_iam_account_alias.me.id
    "aws_ssm_parameter.text"                       = aws_ssm_parameter.text.name
  }
}
