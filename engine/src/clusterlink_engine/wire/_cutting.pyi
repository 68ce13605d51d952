from collections.abc import Callable, Set

def cut(
    records: memoryview,
    aborting: Set[int],
    merges: bool,
    most_records: int,
    most_bytes: int,
    checksum: Callable[[memoryview], int],
    /,
) -> tuple[int, list[tuple[int, tuple[int, int, int, int, int, int, int, int, int, int, int]]]] | None: ...
def checksums(data: bytes, /) -> tuple[int, int]: ...
