variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "primary_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the primary cluster, as the engine reaches them."
  type        = set(string)
}

variable "topics" {
  description = "Topics that are copied."
  type        = set(string)
}

variable "copy_acls" {
  description = "Whether the ACLs of the topics are copied, too. Both clusters need an authorizer."
  type        = bool
  default     = false
}

variable "primary_is_lost" {
  description = "Whether the topics are failed over now. Back to false when they are restored on the primary cluster."
  type        = bool
  default     = false
}
