"""TLS for new connections to one cluster, and what a failed handshake means."""

import logging
import ssl

from clusterlink_engine import pem
from clusterlink_engine.errors import CertificateRefusedError, ClusterUnavailableError, KafkaError, Side
from clusterlink_engine.security import Tls

log = logging.getLogger(__name__)

# How a broker's TLS alert for want of a good certificate of ours begins, in the names of OpenSSL.
_REFUSED = ("CERTIFICATE", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "ACCESS_DENIED")


class Contexts:
    """Answers the TLS context for a new connection: another one when the files of its certificates changed."""

    def __init__(self, tls: Tls, side: Side) -> None:
        """Begins without a context; nothing is read before `current`."""
        self._tls = tls
        self._side = side
        self._pems: pem.Pems | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Answers the context. What cannot be used, for example half of a new pair of files, leaves the last one in place.

        Raises:
            CertificateRefusedError: There is none yet, and none can be made.
        """
        try:
            pems = self._tls.pems()
            if self._context is None or pems != self._pems:
                self._context = pem.client_context(pems, accept_any_server_name=self._tls.accept_any_server_name)
                self._pems = pems
        except ValueError as error:
            text = f"The certificates for the {self._side} cluster cannot be used: {error}."
            if self._context is None:
                raise CertificateRefusedError(text, side=self._side) from error
            log.warning("%s The last ones stay in use.", text)
        return self._context


def explained(error: BaseException, address: str, side: Side) -> KafkaError:
    """Makes the engine's error of one that ended a connection while TLS was agreed upon, or just after."""
    where = f"{address} of the {side} cluster"
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateRefusedError(
            f"The certificate of {where} is not accepted: {error.verify_message.rstrip('.')}.", side=side
        )
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" in reason and any(word in reason for word in _REFUSED):
        return CertificateRefusedError(
            f"{where} refused the engine's certificate, or asks for one and got none "
            f"({reason.lower().replace('_', ' ')}).",
            side=side,
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return ClusterUnavailableError(
            f"{where} does not agree on TLS ({reason.lower().replace('_', ' ') or error}); does this port speak TLS?",
            side=side,
        )
    return ClusterUnavailableError(
        f"{where} closed the connection instead of agreeing on TLS; does this port speak TLS?", side=side
    )
