"""Runs the command line: `python -m clusterlink_engine`."""

import sys

from clusterlink_engine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
