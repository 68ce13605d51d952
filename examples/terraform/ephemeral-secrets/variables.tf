variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "source_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the source cluster, as the engine reaches them."
  type        = set(string)
}

variable "ca_pem" {
  description = "Certificates (PEM) of the authorities that signed those of the brokers. Without it nothing is encrypted on the way."
  type        = string
  default     = null
}

variable "source_topic" {
  description = "Topic of the source cluster that is mirrored."
  type        = string
  default     = "orders"
}

variable "username" {
  description = "The link's user on the source cluster."
  type        = string
}

variable "password" {
  description = "Its password: TF_VAR_password, or from an ephemeral resource of a secrets manager."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "password_version" {
  description = "To be raised whenever the password changes, for Terraform does not remember it."
  type        = number
  default     = 1
}
