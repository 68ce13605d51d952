"""The class path of embedded Kafka is resolved once on a machine, and anew when something of it is gone."""

from pathlib import Path

import pytest

from clusterlink_engine.devkit import jars


def test_jars_are_resolved_once_and_again_when_one_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked: list[str] = []

    def resolve(coordinate: str) -> list[Path]:
        asked.append(coordinate)
        found = [tmp_path / f"{coordinate.split(':')[1]}.jar", tmp_path / "common.jar"]
        for jar in found:
            jar.write_bytes(b"jar")
        return found

    monkeypatch.setattr(jars, "_resolve", resolve)
    resolved = jars.class_path.__wrapped__
    path = resolved("9.9.9")
    assert path == ":".join(str(tmp_path / name) for name in ("kafka_2.13.jar", "common.jar", "slf4j-simple.jar"))
    assert len(asked) == 2
    assert resolved("9.9.9") == path
    assert len(asked) == 2
    for damage in (Path.unlink, lambda jar: jar.write_bytes(b"")):
        damage(tmp_path / "common.jar")
        assert resolved("9.9.9") == path
    assert len(asked) == 6
    resolved("9.9.9", jars.MIRROR_MAKER)
    assert asked[-2] == "org.apache.kafka:connect-mirror:9.9.9"
