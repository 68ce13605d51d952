variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "owner" {
  description = "The team whose topics are shared: a name of at most 11 characters, which becomes the prefix."
  type        = string
}

variable "owner_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of that team's cluster, as the engine reaches them."
  type        = set(string)
}

variable "topics" {
  description = "Topics that are shared."
  type        = set(string)
}

variable "paused" {
  description = "Whether the sharing rests."
  type        = bool
  default     = false
}
