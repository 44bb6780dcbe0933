"""The CloudFormation templates of the deployment, and the programs that build, deploy and check it."""
