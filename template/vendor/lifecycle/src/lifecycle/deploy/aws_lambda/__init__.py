"""The model, its drift check and its releases on AWS Lambda."""
