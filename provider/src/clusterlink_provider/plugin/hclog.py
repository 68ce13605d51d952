"""Log lines in the form that Terraform reads from a plugin's standard error and sorts into its own log by level."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

# Terraform cuts longer lines in pieces that are no JSON any more.
_LINE_LIMIT = 60_000
_LEVELS = {
    "TRACE": logging.DEBUG,
    "JSON": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


class Formatter(logging.Formatter):
    """Writes each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line. Every field is text: Terraform itself fails on others."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        level = "warn" if record.levelno == logging.WARNING else record.levelname.lower()
        line = {
            "@level": "error" if level == "critical" else level,
            "@message": message[:_LINE_LIMIT],
            "@module": f"provider.{record.name}",
            # Exactly this form; with any other the line is taken for debug output.
            "@timestamp": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        return json.dumps(line)


def set_up(environment: Mapping[str, str] = os.environ) -> None:
    """Sends the log to standard error, with the level that Terraform's own variables ask for."""
    asked = environment.get("TF_LOG_PROVIDER") or environment.get("TF_LOG") or "WARN"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS.get(asked.upper(), logging.DEBUG))
