"""Writes the locks: every package with its hashes, no address of an index.

`dev.txt` is the workspace's environment, `proto.txt` the generator's, `build.txt` makes the wheels of an image, `release.txt`
is the bundler's; `engine.txt` and `provider.txt` are what a server and a CI runner install beside the wheels.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ["clusterlink-proto", "clusterlink-engine", "clusterlink-provider"]
LOCKS = {
    "dev.txt": [
        *("proto/pyproject.toml", "engine/pyproject.toml", "provider/pyproject.toml"),
        *("--extra", "demo", "--extra", "msk", "--group", "dev"),
    ],
    "proto.txt": ["--group", "proto"],
    "build.txt": ["--group", "build"],
    "engine.txt": ["proto/pyproject.toml", "engine/pyproject.toml"],
    "provider.txt": ["proto/pyproject.toml", "provider/pyproject.toml"],
    "release.txt": ["proto/pyproject.toml", "provider/pyproject.toml", "--group", "release"],
}


def main() -> None:
    """Compiles each lock, passing on the arguments (for example --upgrade)."""
    for name, inputs in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", *(f"--no-emit-package={own}" for own in OWN)]
        command += [*inputs, "--output-file", f"requirements/{name}", *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 - the command is built here


if __name__ == "__main__":
    main()
