"""Kafka's jars, downloaded once by jgo into the user's cache."""

from functools import cache as remembered
from pathlib import Path

from clusterlink_engine.devkit import cache

# Kafka's jars name slf4j 1.7 without an implementation; this one writes to standard error, which is our log file.
_LOGGER = "org.slf4j:slf4j-simple:1.7.36"

BROKER = "kafka_2.13"
MIRROR_MAKER = "connect-mirror"


@remembered
def class_path(version: str, artifact: str = BROKER) -> str:
    """Returns the class path of a program of a Kafka version; takes about a minute the first time on a machine.

    Args:
        version: Of Kafka.
        artifact: Maven's name of the program's jar, of the group org.apache.kafka.

    Raises:
        RuntimeError: The extra `demo` is not installed, or the jars cannot be had.
    """
    kept = cache.directory() / f"jars-{artifact}-{version}-{_LOGGER.rpartition(':')[2]}.txt"
    with cache.locked("jars"):
        # jgo links some of them anew whenever it is asked, and a program that starts meanwhile would miss them.
        jars = kept.read_text().splitlines() if kept.exists() else []
        if not jars or not all(map(_is_whole, map(Path, jars))):
            found = [*_resolve(f"org.apache.kafka:{artifact}:{version}"), *_resolve(_LOGGER)]
            # All jars together on the class path: jgo would put some on the module path, where Kafka does not look.
            jars = [str(jar) for jar in {jar.name: jar for jar in found}.values()]
            written = kept.with_suffix(".new")
            written.write_text("\n".join(jars))
            written.replace(kept)
    return ":".join(jars)


def _is_whole(jar: Path) -> bool:
    return jar.is_file() and jar.stat().st_size > 0


def _resolve(coordinate: str) -> list[Path]:
    try:
        import jgo
    except ImportError as error:
        raise RuntimeError("embedded Kafka needs the extra `demo`: pip install 'clusterlink-engine[demo]'") from error
    try:
        jars = list(jgo.build(coordinate).all_jars)
        if not jars or not all(map(_is_whole, jars)):
            # An interrupted download: a second look repairs it.
            jars = list(jgo.build(coordinate, update=True).all_jars)
    except Exception as error:  # jgo lets through whatever its HTTP client raises
        raise RuntimeError(f"the jars of {coordinate} cannot be had: {error}") from error
    return jars
