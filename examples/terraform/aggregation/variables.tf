variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "sources" {
  description = "Addresses (host:port) of brokers of each source cluster, as the engine reaches them, by a name that becomes the prefix."
  type        = map(set(string))
}

variable "topics" {
  description = "Topics that are gathered; each source has them all."
  type        = set(string)
}
