variable "engine_endpoint" {
  description = "Address (host:port) of the engine's API."
  type        = string
  default     = "127.0.0.1:7171"
}

variable "source_bootstrap_servers" {
  description = "Addresses (host:port) of brokers of the source cluster, as the engine reaches them: of a listener with SASL_SSL."
  type        = set(string)
}

variable "source_ca_pem" {
  description = "Certificates (PEM) of the authorities that have signed those of the brokers; null for those that the engine's machine trusts."
  type        = string
  default     = null
}

variable "token_endpoint_url" {
  description = "Token endpoint, as the engine reaches it: https, or http to the engine's own machine."
  type        = string
}

variable "token_endpoint_ca_pem" {
  description = "Certificates (PEM) of the authorities that have signed that of the endpoint; null for those that the engine's machine trusts."
  type        = string
  default     = null
}

variable "client_id" {
  description = "Name of the engine's client at the token endpoint."
  type        = string
}

variable "client_secret" {
  description = "Secret of this client. From the environment (TF_VAR_client_secret), or from an ephemeral resource."
  type        = string
  ephemeral   = true
}

variable "client_secret_version" {
  description = "Number of the secret; another one sends the secret again."
  type        = number
  default     = 1
}

variable "scope" {
  description = "Scopes to ask for, with spaces between them; null if the endpoint decides."
  type        = string
  default     = null
}

variable "topics" {
  description = "Topics of the source cluster that are mirrored."
  type        = set(string)
}
