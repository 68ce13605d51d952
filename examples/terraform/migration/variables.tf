variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "old_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the cluster that the topics leave, as the engine reaches them."
  type        = set(string)
}

variable "topics" {
  description = "Topics that move."
  type        = set(string)
}

variable "cut_over" {
  description = "Whether the topics are promoted now. This is final."
  type        = bool
  default     = false
}
