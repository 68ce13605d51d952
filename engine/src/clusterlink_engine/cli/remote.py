"""The commands that ask a running engine: `clusterlink link`, `clusterlink mirror` and `clusterlink health`."""

import argparse
import os
from typing import Any

import grpc

from clusterlink_engine.cli import health, link_commands, mirror_commands, mirror_transitions
from clusterlink_engine.cli.asking import DEFAULT_ENDPOINT, TOKEN_VARIABLE, UsageError, read_file, verbs_of
from clusterlink_engine.cli.printing import complain
from clusterlink_proto.channel import CredentialsError, Tls, open_channel, why_refused

EXIT_FAILURE = 1
EXIT_BAD_ARGUMENTS = 2


def add(commands: Any) -> None:
    """Adds the commands to the parser's."""
    link_commands.add(verbs_of(commands, "link", "make, change, pause and delete links, and look at them"))
    mirror = verbs_of(commands, "mirror", "make mirror topics and look at them; pause, promote, fail over, go back")
    mirror_commands.add(mirror)
    mirror_transitions.add(mirror)
    health.add(commands)


def run(options: argparse.Namespace) -> int:
    """Runs a command; answers the exit code. What the engine refuses is one line on standard error."""
    endpoint = options.engine or os.environ.get("CLUSTERLINK_ENDPOINT", DEFAULT_ENDPOINT)
    try:
        tls = _tls(options)
        with open_channel(endpoint, token=_token(options), tls=tls) as channel:
            code: int = options.run(channel, options)
            return code
    except (UsageError, CredentialsError) as error:
        complain(str(error))
        return EXIT_BAD_ARGUMENTS
    except grpc.RpcError as error:
        status: Any = error
        if status.code() is grpc.StatusCode.UNAVAILABLE:
            said = why_refused(status.details(), tls) or status.details()
            complain(f"the engine at {endpoint}: {said}")
        else:
            complain(status.details())
        return EXIT_FAILURE
    except KeyboardInterrupt:
        complain("not waited for; the engine goes on with it.")
        return EXIT_FAILURE


def _token(options: argparse.Namespace) -> str:
    if options.token_file is not None:
        return read_file(options.token_file).strip()
    return os.environ.get(TOKEN_VARIABLE, "")


def _tls(options: argparse.Namespace) -> Tls | None:
    ca, certificate, key = (
        None if path is None else read_file(path)
        for path in (options.ca_file, options.certificate_file, options.key_file)
    )
    return Tls(ca, certificate, key) if options.tls or ca or certificate or key else None
