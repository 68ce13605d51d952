variable "kafka_password" {
  type      = string
  ephemeral = true
}

resource "clusterlink_link" "primary" {
  name = "from-primary"

  remote_cluster = {
    bootstrap_servers = ["broker-1.example.com:9093", "broker-2.example.com:9093"]
    security_protocol = "SASL_SSL"
    sasl = {
      mechanism           = "SCRAM-SHA-512"
      username            = "clusterlink"
      password_wo         = var.kafka_password
      password_wo_version = 1
    }
  }

  consumer_offset_sync = {
    enable        = true
    group_filters = [{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }]
  }

  auto_create_mirror_topics = {
    enable  = true
    filters = [{ name = "orders-", pattern_type = "PREFIXED", filter_type = "INCLUDE" }]
  }
}
