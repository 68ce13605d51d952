variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "engine_tls" {
  description = "For an engine elsewhere: {} trusts whom the system trusts, { ca_pem = ... } another CA."
  type        = object({ ca_pem = optional(string) })
  default     = null
}

variable "source_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the source cluster, as the engine reaches them."
  type        = set(string)
}

variable "topics" {
  description = "Topics that are mirrored."
  type        = set(string)
}
