"""What makes the deployment: the template, and the folders that it deploys."""
