variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "production_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the production cluster, as the engine reaches them."
  type        = set(string)
}

variable "prefixes" {
  description = "Topics whose names begin so are mirrored."
  type        = set(string)
}

variable "excluded" {
  description = "Topics that are not, although they begin so."
  type        = set(string)
  default     = []
}
