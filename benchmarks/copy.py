"""Runs the benchmark `copying.py`, with its arguments."""

import os
import sys

if __name__ == "__main__":
    # With `-P`: a program started from this directory would take this file for the standard module of its name.
    program = __file__.removesuffix("copy.py") + "copying.py"
    os.execv(sys.executable, [sys.executable, "-P", program, *sys.argv[1:]])  # noqa: S606 -- ourselves
