mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  name              = "venue"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  subnet_ids        = ["subnet-1", "subnet-2"]
  security_group_id = "sg-1"
  services          = { settler = [{ sid = "Journal", actions = ["dynamodb:Query"], resources = ["arn:aws:dynamodb:eu-central-1:123456789012:table/j"] }] }
}

run "private_encrypted_and_least" {
  command = plan
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "the cluster's API is not public unless asked for"
  }
  assert {
    condition     = toset(aws_eks_cluster.this.encryption_config[0].resources) == toset(["secrets"])
    error_message = "secrets are encrypted"
  }
  assert {
    condition     = alltrue([for t in aws_launch_template.node : t.metadata_options[0].http_tokens == "required" && t.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "pods do not reach the node's credentials"
  }
  assert {
    condition     = toset(keys(aws_eks_node_group.this)) == toset(["engines", "services"])
    error_message = "engines stand on nodes of their own"
  }
  assert {
    condition     = aws_eks_pod_identity_association.service["settler"].namespace == "exchange" && aws_eks_pod_identity_association.service["settler"].service_account == "settler"
    error_message = "each service has its own role"
  }
  assert {
    condition     = aws_eks_pod_identity_association.helper["fluent-bit"].namespace == "exchange-logs" && aws_cloudwatch_log_group.services.kms_key_id == var.kms_key_arn && output.log_group == "/venue/services"
    error_message = "logs of the services reach CloudWatch, encrypted: their metrics are made of them"
  }
  assert {
    condition     = alltrue([for a in aws_eks_addon.this : a.resolve_conflicts_on_create == "OVERWRITE"])
    error_message = "a new cluster has the addons already, and making them would fail"
  }
  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE"
    error_message = "an image never changes under its tag"
  }
}

run "the_whole_world_is_refused" {
  command = plan
  variables {
    public_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.public_cidrs]
}
