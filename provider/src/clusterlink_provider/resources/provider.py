"""The provider itself: where the engine is, and whether the two fit."""

import os
import re
from collections.abc import Mapping
from typing import Final

from clusterlink_proto.channel import CredentialsError, Tls
from clusterlink_provider import __version__
from clusterlink_provider.engine_client import EngineClient
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Path
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import DataSource, Resource
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources.data_engine import EngineDataSource
from clusterlink_provider.resources.data_link import LinkDataSource, LinksDataSource
from clusterlink_provider.resources.data_mirror_topic import MirrorTopicDataSource
from clusterlink_provider.resources.data_mirror_topics import MirrorTopicsDataSource
from clusterlink_provider.resources.link import LinkResource
from clusterlink_provider.resources.mirror_topic import MirrorTopicResource
from clusterlink_provider.resources.session import Session

DEFAULT_ENDPOINT: Final = "127.0.0.1:7171"
ENDPOINT_VARIABLE: Final = "CLUSTERLINK_ENDPOINT"
TOKEN_VARIABLE: Final = "CLUSTERLINK_TOKEN"  # noqa: S105 - the name of the variable
# An engine that is just starting is waited for; one that is not there is reported soon.
_CONNECT_SECONDS = 5.0
_ENDPOINT = re.compile(r"^(unix:.+|[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5})$")


def _valid_endpoint(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    if not _ENDPOINT.match(value):
        diagnostics.error(
            "Invalid endpoint", f'Expected host:port, for example "{DEFAULT_ENDPOINT}", got "{value}".', path
        )


def _pem(description: str, *, sensitive: bool = False) -> Attribute:
    return Attribute(description=f"{description} PEM.", type=cty.STRING, optional=True, sensitive=sensitive)


class ClusterlinkProvider:
    """Links and mirror topics of one engine."""

    schema = Schema(
        description="Links and mirror topics of a clusterlink engine.",
        attributes={
            "endpoint": Attribute(
                description=f"Address of the engine's API (`host:port`). Default: the environment variable "
                f"`{ENDPOINT_VARIABLE}`, else `{DEFAULT_ENDPOINT}`.",
                type=cty.STRING,
                optional=True,
                validators=(_valid_endpoint,),
            ),
            "token": Attribute(
                description=f"What the engine knows the caller by; `clusterlink token new` makes one. Default: the "
                f"environment variable `{TOKEN_VARIABLE}`, else none. Anywhere but on the engine's machine it needs `tls`.",
                type=cty.STRING,
                optional=True,
                sensitive=True,
            ),
            "tls": Attribute(
                description="Speaks TLS with the engine. `{}` trusts whom the system trusts.",
                optional=True,
                nested={
                    "ca_pem": _pem(
                        "CAs that the engine's certificate has to be signed by. Default: those of the system."
                    ),
                    "certificate_pem": _pem("Certificate to show to the engine."),
                    "key_pem": _pem("Private key of `certificate_pem`.", sensitive=True),
                    "server_name": Attribute(
                        description="Name that the engine's certificate must have. Default: that of `endpoint`.",
                        type=cty.STRING,
                        optional=True,
                    ),
                },
            ),
        },
    )

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        resources: tuple[Resource[Session], ...] = (LinkResource(), MirrorTopicResource())
        sources: tuple[DataSource[Session], ...] = (
            EngineDataSource(),
            LinkDataSource(),
            LinksDataSource(),
            MirrorTopicDataSource(),
            MirrorTopicsDataSource(),
        )
        self.resources: Mapping[str, Resource[Session]] = {item.type_name: item for item in resources}
        self.data_sources: Mapping[str, DataSource[Session]] = {item.type_name: item for item in sources}

    def configure(self, config: Object, diagnostics: Diagnostics) -> Session | None:
        """Connects to the engine and compares versions."""
        if not cty.is_wholly_known(config):
            return None
        given, tls = config.get("endpoint"), config.get("tls")
        endpoint = given or self._environment.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT
        if given is None:
            _valid_endpoint(endpoint, (), diagnostics)
            if diagnostics.has_errors:
                return None
        token = config.get("token") or self._environment.get(TOKEN_VARIABLE, "")
        try:
            client = EngineClient(endpoint, token=token, tls=None if tls is None else Tls(**tls))
        except CredentialsError as error:
            diagnostics.error("Unusable credentials", f"{error} See the provider's `token` and `tls`.")
            return None
        engine = client.get_engine(_CONNECT_SECONDS)
        if not _is_new_enough(engine.version):
            diagnostics.error(
                "Engine older than the provider",
                f"The engine at {endpoint} has version {engine.version[:40] or '(unknown)'}, this provider has "
                f"{__version__} and "
                f"needs an engine {'.'.join(__version__.split('.')[:2])} or newer. Upgrade the engine, or use the "
                f"provider "
                "version that belongs to it.",
            )
            return None
        return Session(client, engine)

    def stop(self, session: Session) -> None:
        """Ends retries; calls under way go on to their end."""
        session.client.stop()


def _is_new_enough(engine_version: str) -> bool:
    needed, found = (re.match(r"(\d+)\.(\d+)", version, re.ASCII) for version in (__version__, engine_version))
    if needed is None or found is None:
        return False
    return tuple(map(int, found.groups())) >= tuple(map(int, needed.groups()))
