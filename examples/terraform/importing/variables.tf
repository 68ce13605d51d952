variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "link" {
  description = "Name of the link that exists."
  type        = string
}

variable "source_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of its source cluster; `clusterlink link describe` tells them."
  type        = set(string)
}
