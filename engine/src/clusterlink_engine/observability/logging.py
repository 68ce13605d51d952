"""Log lines on standard error: time in UTC, level, module, text."""

import logging
import time

from clusterlink_engine.printable import printable

# Of one line, without what Python says of an exception: an error may be told in a sentence of ours.
_LONGEST = 4000

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s {worker}%(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """Makes one line of each record, so that nothing from outside can pretend to be another one."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.message = printable(record.message, _LONGEST)
        record.name = record.name.removeprefix("clusterlink_engine.")
        return super().formatMessage(record)


def configure(level: str, worker: int = 0) -> None:
    """Sets logging up for this process; `level` is a name such as "info". Lines of a worker have its number."""
    handler = logging.StreamHandler()
    told = _FORMAT.format(worker=f"worker {worker} " if worker else "")
    handler.setFormatter(_Formatter(told, "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The library says everything twice: what matters of it comes back as an error where the call is made.
    logging.getLogger("clusterlink_engine.store.state_topic.librdkafka").setLevel(logging.CRITICAL)
    logging.getLogger("kafka").setLevel(logging.ERROR)
