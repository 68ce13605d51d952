"""The Terraform provider of clusterlink: links and mirror topics as code."""

__version__ = "0.1.0"
