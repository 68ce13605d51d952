resource "clusterlink_link" "primary" {
  name           = "from-primary"
  remote_cluster = { bootstrap_servers = ["broker-1.example.com:9092"] }
}

resource "clusterlink_mirror_topic" "orders" {
  link         = clusterlink_link.primary.name
  source_topic = "orders"
}

# In a disaster, once for all: status = "FAILED_OVER".
resource "clusterlink_mirror_topic" "payments" {
  link         = clusterlink_link.primary.name
  source_topic = "payments"
  status       = "ACTIVE"
  on_failed    = "REBUILD"

  timeouts = {
    update = "10m"
  }
}
