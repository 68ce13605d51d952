"""Messages that kafka-python does not have.

It makes them of the descriptions that are here as files, so that they are encoded and decoded as its own are.
"""

from kafka.protocol.api_message import ApiMessage


class ConsumerGroupDescribeRequest(ApiMessage, load_json=__name__):  # type: ignore[misc,call-arg] # kafka-python has no types
    """Asks for groups of the newer protocol (KIP-848): API key 69, versions 0 and 1."""


class ConsumerGroupDescribeResponse(ApiMessage, load_json=__name__):  # type: ignore[misc,call-arg] # likewise
    """Tells their members, and which partitions each of these has and shall have."""
