"""The calls of protocol 6, one module per family, each written as convert, logic, convert."""

from clusterlink_provider.framework.server.service import Service

__all__ = ["Service"]
