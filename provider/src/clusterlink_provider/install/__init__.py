"""Puts the provider where Terraform and OpenTofu find it, and takes it away again."""
