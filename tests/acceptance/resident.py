"""The provider in the process of the tests: Terraform connects to it instead of starting it three times per plan.

Starting is tested in `provider_shell`, with the launcher that users have.
"""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from clusterlink_provider.framework.server import Service
from clusterlink_provider.resources.provider import ClusterlinkProvider


class ResidentProvider:
    """A provider that Terraform finds through the variable TF_REATTACH_PROVIDERS."""

    def __init__(self) -> None:
        # Not below pytest's directory, whose name may be too long for a socket.
        self._directory = Path(tempfile.mkdtemp(prefix="cl-"))
        self._server = grpc.server(ThreadPoolExecutor(32))
        self._server.add_generic_rpc_handlers((Service(ClusterlinkProvider({})).handler(),))
        self.socket = self._directory / "provider.sock"
        self._server.add_insecure_port(f"unix:{self.socket}")

    @property
    def reattach(self) -> str:
        """The value of the variable."""
        address = {"Network": "unix", "String": str(self.socket)}
        provider = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
        return json.dumps({"registry.terraform.io/clusterlink/clusterlink": provider})

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()
        shutil.rmtree(self._directory)
