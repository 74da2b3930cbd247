# The services as containers instead of functions: compute = "eks". The
# manifests in examples/aws/kubernetes run in this cluster.

locals {
  # What nodes without a way out need besides.
  eks_endpoints = {
    "ecr.api"              = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"]
    "ecr.dkr"              = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"]
    "sts"                  = ["sts:AssumeRole", "sts:GetCallerIdentity", "sts:TagSession"]
    "ec2"                  = ["ec2:AssignPrivateIpAddresses", "ec2:AttachNetworkInterface", "ec2:CreateNetworkInterface", "ec2:CreateTags", "ec2:DeleteNetworkInterface", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DetachNetworkInterface", "ec2:GetInstanceTypesFromInstanceRequirements", "ec2:ModifyNetworkInterfaceAttribute", "ec2:UnassignPrivateIpAddresses"]
    "eks"                  = ["eks:DescribeCluster", "eks:DescribeNodegroup"]
    "eks-auth"             = ["eks-auth:AssumeRoleForPodIdentity"]
    "elasticloadbalancing" = ["elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups"]
    "monitoring"           = ["cloudwatch:GetMetricData", "cloudwatch:PutMetricData"]
    "autoscaling"          = ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags", "autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
  }

  # What a service receives from, which a function's event source mapping does
  # for it.
  receives = local.lambda ? {} : {
    order-processor = [module.messaging.requests.arn]
    matching-engine = module.messaging.commands[*].arn
    market-data     = module.messaging.consumers["market-data"][*].arn
    trade-recorder  = module.messaging.consumers["trade-recorder"][*].arn
    settler         = module.messaging.consumers["settler"][*].arn
  }

  # risk-checker runs in the order processor there.
  pods = local.lambda ? {} : { for name, may in {
    order-processor = local.service_functions["risk-checker"].may
    matching-engine = local.service_functions["matching-engine-000"].may
    market-data     = local.service_functions["market-data-000"].may
    trade-recorder  = local.service_functions["trade-recorder-000"].may
    settler         = local.service_functions["settler-000"].may
    sweeper         = local.service_functions["sweeper"].may
    } : name => concat(
    [for key in may : local.may[key]],
    [for arns in [lookup(local.receives, name, [])] : { sid = "OwnQueues", actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], resources = arns } if length(arns) > 0],
  ) }
}

module "eks" {
  count             = local.lambda ? 0 : 1
  source            = "./modules/eks"
  name              = var.name
  kms_key_arn       = aws_kms_key.this.arn
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.network.security_group_ids.services
  public_cidrs      = var.eks.public_cidrs
  admins            = var.eks.admins
  nodes             = var.eks.nodes
  services          = local.pods
  log_days          = var.log_days
}
