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

variable "automatic_prefixes" {
  description = "Topics whose names begin so are copied as well, those that are made later too."
  type        = set(string)
  default     = []
}

variable "acl_principals" {
  description = "Whose ACLs are copied, for example User:shop. Both clusters need an authorizer."
  type        = set(string)
  default     = []
}

variable "primary_is_lost" {
  description = "Whether the topics are failed over now. This is final."
  type        = bool
  default     = false
}
