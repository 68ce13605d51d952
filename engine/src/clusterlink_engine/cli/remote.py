"""The commands that ask a running engine: `clusterlink link` and `clusterlink mirror`."""

import argparse
import os
import sys
from typing import Any

import grpc

from clusterlink_engine.cli import link_commands, mirror_commands, mirror_transitions
from clusterlink_engine.cli.asking import DEFAULT_ENDPOINT, UsageError, verbs_of

EXIT_FAILURE = 1
EXIT_BAD_ARGUMENTS = 2


def add(commands: Any) -> None:
    """Adds the commands to the parser's."""
    link_commands.add(verbs_of(commands, "link", "make, change, pause and delete links, and look at them"))
    mirror = verbs_of(commands, "mirror", "make mirror topics and look at them; pause, promote, fail over, go back")
    mirror_commands.add(mirror)
    mirror_transitions.add(mirror)


def run(options: argparse.Namespace) -> int:
    """Runs a command; answers the exit code. What the engine refuses is one line on standard error."""
    endpoint = options.engine or os.environ.get("CLUSTERLINK_ENDPOINT", DEFAULT_ENDPOINT)
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            code: int = options.run(channel, options)
        except UsageError as error:
            print(f"clusterlink: {error}", file=sys.stderr)
            return EXIT_BAD_ARGUMENTS
        except grpc.RpcError as error:
            status: Any = error
            if status.code() is grpc.StatusCode.UNAVAILABLE:
                print(f"clusterlink: the engine at {endpoint}: {status.details()}", file=sys.stderr)
            else:
                print(f"clusterlink: {status.details()}", file=sys.stderr)
            return EXIT_FAILURE
        except KeyboardInterrupt:
            print("clusterlink: not waited for; the engine goes on with it.", file=sys.stderr)
            return EXIT_FAILURE
        return code
