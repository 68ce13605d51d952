"""The messages of `clusterlink.v1`, under a short name."""

from clusterlink_proto.generated.clusterlink.v1.clusterlink_pb2 import *  # noqa: F403
from clusterlink_proto.generated.clusterlink.v1.clusterlink_pb2 import DESCRIPTOR as DESCRIPTOR
