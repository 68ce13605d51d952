"""The command `clusterlink`."""

import argparse
import asyncio
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterlink_engine import __version__, settings
from clusterlink_engine.cli import remote, token, verify
from clusterlink_engine.cli.printing import complain
from clusterlink_engine.errors import ClusterlinkError
from clusterlink_engine.store import keyring

EXIT_FAILURE = 1
EXIT_BAD_SETTINGS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and answers its exit code: 0, 2 for bad settings or arguments, 1 for everything else."""
    options = _parser().parse_args(arguments)
    if options.command == "serve":
        return _serve(options)
    if options.command == "verify":
        return verify.run(options)
    if options.command in ("link", "mirror", "health"):
        return remote.run(options)
    if options.command == "state-key":
        print(keyring.new_key())
        return 0
    if options.command == "token":
        return token.run(options)
    return _demo(keep=options.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clusterlink", description="Keeps mirror topics on stock Apache Kafka byte-identical and offset-exact."
    )
    parser.add_argument("--version", action="version", version=f"clusterlink {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the engine", description="Runs the engine until SIGTERM or SIGINT.")
    serve.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    serve.add_argument("--listen", metavar="HOST:PORT", help="address of the API (api.listen)")
    serve.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="least severe lines to print")
    serve.add_argument("--workers", type=int, metavar="N", help="processes that share the work (workers)")
    serve.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)  # a worker's number, and its connection
    remote.add(commands)
    token.add(commands)
    verify.add(commands)
    state_key = commands.add_parser("state-key", help="the key that encrypts the secrets in the state")
    key_commands = state_key.add_subparsers(required=True, metavar="COMMAND")
    key_commands.add_parser("new", help="print a new key", description="Prints a new key, one line for state.key_file.")
    demo = commands.add_parser(
        "demo",
        help="two Kafka clusters, the engine and terraform on this machine",
        description="Starts two embedded Kafka clusters and the engine, mirrors a topic with terraform, and compares.",
    )
    demo.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C and print the addresses"
    )
    return parser


def _serve(options: argparse.Namespace) -> int:
    api = {"listen": options.listen} if options.listen is not None else None
    flags = {"api": api, "log_level": options.log_level, "workers": options.workers}
    try:
        loaded = settings.load(options.config, flags={key: flag for key, flag in flags.items() if flag is not None})
    except settings.SettingsError as error:
        complain(str(error))
        return EXIT_BAD_SETTINGS
    # Imported here: a wrong setting is told at once, and the demo needs none of it.
    from clusterlink_engine.observability import logging

    number, connection = options.worker or (0, 0)
    logging.configure(loaded.log_level, number)
    try:
        if loaded.workers > 1 and not number:
            from clusterlink_engine.supervisor import supervise

            return asyncio.run(supervise(loaded, _worker_command(options)))
        from clusterlink_engine import app
        from clusterlink_engine.supervised import Supervised

        # What is imported stays, and ten thousand partitions are a million objects: to look through all of them whenever a few
        # thousand were made stops everything for a second. What is not needed any more goes without it, but for cycles.
        gc.freeze()
        gc.set_threshold(20_000)
        asyncio.run(app.serve(loaded, Supervised(number, connection) if number else None))
    except ClusterlinkError as error:
        complain(str(error))
        return EXIT_BAD_SETTINGS if isinstance(error, settings.SettingsError) else EXIT_FAILURE
    return 0


def _worker_command(options: argparse.Namespace) -> list[str]:
    """Answers what runs a worker with the same settings, but for its number and its connection."""
    flags = {"--config": options.config, "--listen": options.listen, "--log-level": options.log_level}
    given = [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
    return [sys.executable, "-P", "-m", "clusterlink_engine", "serve", *given, "--worker"]


def _demo(*, keep: bool) -> int:
    try:
        from clusterlink_engine.devkit import demo
    except ModuleNotFoundError as error:
        complain(f'the demo needs "clusterlink-engine[demo]" ({error.name} is missing)')
        return EXIT_FAILURE
    return demo.run(keep=keep)
