variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "source_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the source cluster, as the engine reaches them."
  type        = set(string)
}

variable "topics" {
  description = "Topics that are mirrored."
  type        = set(string)
}
