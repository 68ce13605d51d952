"""One plugin process, from the handshake to its end. Knows how Terraform starts plugins; knows no schema."""
