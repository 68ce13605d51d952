"""Generates the message classes from the .proto files.

Run by `make proto` with the generator's own environment (requirements/proto.txt), whose age is deliberate: its output loads
with protobuf 5, 6 and 7. No service stubs are generated, since those demand the generator's grpcio: see
`clusterlink_proto.rpc`.
"""

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
SOURCES = ["clusterlink/v1/clusterlink.proto", "tfplugin6.proto", "go_plugin.proto"]


def generate(output: Path) -> None:
    """Writes `*_pb2.py` and `*_pb2.pyi` of every source below `output`.

    Raises:
        SystemExit: The compiler refused a source; it has printed why.
    """
    output.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{HERE}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    plugin = f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}"
    for source in SOURCES:
        if protoc.main(["protoc", plugin, *includes, f"--python_out={output}", f"--mypy_out=quiet:{output}", source]):
            sys.exit(f"protoc failed on {source}")
    for folder in [output, *(path for path in output.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text("")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src/clusterlink_proto/generated")
