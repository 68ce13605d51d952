"""The command `clusterlink`."""

import argparse
import asyncio
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
        return _serve(options.config, options.listen, options.log_level)
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


def _serve(config: Path | None, listen: str | None, log_level: str | None) -> int:
    flags: dict[str, object] = {}
    if listen is not None:
        flags["api"] = {"listen": listen}
    if log_level is not None:
        flags["log_level"] = log_level
    try:
        loaded = settings.load(config, flags=flags)
    except settings.SettingsError as error:
        complain(str(error))
        return EXIT_BAD_SETTINGS
    # Imported here: a wrong setting is told at once, and the demo needs none of it.
    from clusterlink_engine import app
    from clusterlink_engine.observability import logging

    logging.configure(loaded.log_level)
    try:
        asyncio.run(app.serve(loaded))
    except ClusterlinkError as error:
        complain(str(error))
        return EXIT_BAD_SETTINGS if isinstance(error, settings.SettingsError) else EXIT_FAILURE
    return 0


def _demo(*, keep: bool) -> int:
    try:
        from clusterlink_engine.devkit import demo
    except ModuleNotFoundError as error:
        complain(f'the demo needs "clusterlink-engine[demo]" ({error.name} is missing)')
        return EXIT_FAILURE
    return demo.run(keep=keep)
