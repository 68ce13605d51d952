"""Builds the provider for a registry: a zip for this platform, checksums and manifest, the same bytes from the same sources.

Run by `make release` with an environment of its own (requirements/release.txt). The zip holds a program with its own Python
interpreter, so it is built on each platform that it is meant for, on the oldest C library that is to be supported. Put the zips
of all platforms into one directory, and run it there with `--sums` for the checksums of all.

Names and contents are those of the provider registry protocol ("Publishing Providers"): the program at the root of the zip,
`..._SHA256SUMS` over zips and manifest. The signature is made by whoever has the key: `gpg --detach-sign ..._SHA256SUMS`.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from clusterlink_provider import __main__ as program
from clusterlink_provider import __version__
from clusterlink_provider.install.environment import terraform_platform

NAME = "terraform-provider-clusterlink"
# Zip files cannot say an earlier moment; a fixed one, since the same sources have to give the same bytes.
_MOMENT = (1980, 1, 1, 0, 0, 0)
# Looked for by name at run time, so that the bundler does not see them.
_HIDDEN = ("google.rpc.error_details_pb2", "google.rpc.status_pb2", "clusterlink_provider.plugin.tls")


def bundle(directory: Path) -> Path:
    """Makes the program with all that it needs below a directory; gives the folder to be zipped."""
    command = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--clean", "--log-level=ERROR"]
    command += [f"--name={NAME}_v{__version__}", *(f"--hidden-import={name}" for name in _HIDDEN)]
    command += [f"--{kind}path={directory / kind}" for kind in ("dist", "work", "spec")]
    # Both are part of the bytes otherwise: the order of sets, and the clock.
    environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "315532800"}
    subprocess.run([*command, str(program.__file__)], check=True, env=environment)  # noqa: S603 - built here
    return directory / "dist" / f"{NAME}_v{__version__}"


def write_zip(folder: Path, archive: Path) -> None:
    """Zips a folder's contents: sorted, with one date, and with modes, without which the program could not be started."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                continue
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _MOMENT)
            entry.create_system = 3  # Unix, or the modes mean nothing
            entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, path.read_bytes())


def write_manifest(output: Path) -> Path:
    """Writes which protocol the provider speaks."""
    manifest = output / f"{NAME}_{__version__}_manifest.json"
    manifest.write_text(json.dumps({"version": 1, "metadata": {"protocol_versions": ["6.0"]}}) + "\n")
    return manifest


def write_sums(output: Path) -> Path:
    """Writes the checksums of the manifest and of all zips of this version in a directory."""
    manifest = write_manifest(output)
    files = sorted([*output.glob(f"{NAME}_{__version__}_*.zip"), manifest])
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = output / f"{NAME}_{__version__}_SHA256SUMS"
    sums.write_text("".join(lines))
    return sums


def main() -> None:
    """Builds what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Builds a release of the Terraform provider.")
    parser.add_argument("--output", type=Path, default=Path("dist"), help="directory of the release; default: dist")
    parser.add_argument("--sums", action="store_true", help="build nothing; write the checksums of what is there")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.sums:
        work = Path(tempfile.mkdtemp(prefix="clusterlink-release-"))
        try:
            archive = options.output / f"{NAME}_{__version__}_{terraform_platform()}.zip"
            write_zip(bundle(work), archive)
        finally:
            shutil.rmtree(work)
        print(f"wrote    {archive}")
    print(f"wrote    {write_sums(options.output)}")


if __name__ == "__main__":
    main()
