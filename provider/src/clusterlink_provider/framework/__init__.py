"""What every Terraform provider needs and no link knows: values, schemas, planning and the calls of protocol 6.

Each call is converted from the wire, answered by logic that knows no messages, and converted back (`framework.server`).
"""
