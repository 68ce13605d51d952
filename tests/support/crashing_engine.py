"""The engine, with a place at which it kills itself: `python crashing_engine.py POINT serve ...`.

A point is `step:number:when`: before or after the step is taken for that time, counted from the first request on.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from clusterlink_engine.cli.main import main
from clusterlink_engine.control import write_guard
from clusterlink_engine.control.topics import Topics
from clusterlink_engine.store.state_topic import StateTopic
from clusterlink_engine.sync import acls
from clusterlink_engine.wire import logs

STEPS: dict[str, tuple[Any, str]] = {
    "write": (StateTopic, "write"),
    "write_denial": (StateTopic, "write"),
    "create_topic": (logs, "create_topic"),
    "delete_topic": (logs, "delete_topic"),
    "producer_id": (logs, "init_producer_id"),
    "log_ends": (Topics, "log_ends"),
    "create_acls": (acls, "create_acls"),
    "delete_acls": (acls, "delete_acls"),
    "create_denial": (write_guard, "create_acls"),
    "delete_denial": (write_guard, "delete_acls"),
}


def arm(point: str) -> None:
    """Makes the step of a point deadly."""
    step, number, when = point.split(":")
    owner, name = STEPS[step]
    function: Callable[..., Any] = getattr(owner, name)
    calls = 0

    async def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if options.get("settings", {}).get("cleanup.policy") == "compact" and step == "create_topic":
            return await function(*arguments, **options)  # the state topic, before the first request
        if step == "write" and all(key.startswith("allocation/") for key in arguments[1]):
            return await function(*arguments, **options)  # of the processes, not of a request
        if step == "write_denial" and not all(key.startswith("denial/") for key in arguments[1]):
            return await function(*arguments, **options)
        calls += 1
        if calls == int(number) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await function(*arguments, **options)
        if calls == int(number) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    arm(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
