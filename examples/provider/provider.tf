terraform {
  required_providers {
    clusterlink = {
      source = "clusterlink/clusterlink"
    }
  }
}

variable "clusterlink_token" {
  type      = string
  sensitive = true
}

provider "clusterlink" {
  endpoint = "engine.example.com:7171"
  token    = var.clusterlink_token # or CLUSTERLINK_TOKEN
  tls      = {}                    # trusts whom the system trusts
}
