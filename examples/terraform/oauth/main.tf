# Mirrors topics of a cluster that asks for tokens: the engine gets them from a token endpoint as a client of its own, and
# gets new ones before they end. The client's secret is in no state and no plan.

terraform {
  required_version = ">= 1.11"

  required_providers {
    clusterlink = {
      source = "clusterlink/clusterlink"
    }
  }
}

provider "clusterlink" {
  endpoint = var.engine_endpoint
}

resource "clusterlink_link" "source" {
  name = "from-source"

  remote_cluster = {
    bootstrap_servers = var.source_bootstrap_servers
    security_protocol = "SASL_SSL"
    tls               = { ca_pem = var.source_ca_pem }

    sasl = {
      mechanism = "OAUTHBEARER"

      oauth = {
        token_endpoint_url       = var.token_endpoint_url
        client_id                = var.client_id
        client_secret_wo         = var.client_secret
        client_secret_wo_version = var.client_secret_version
        scope                    = var.scope
        ca_pem                   = var.token_endpoint_ca_pem
      }
    }
  }
}

resource "clusterlink_mirror_topic" "mirrored" {
  for_each = var.topics

  link         = clusterlink_link.source.name
  source_topic = each.value
}
