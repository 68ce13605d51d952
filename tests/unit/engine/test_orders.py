"""What engine processes tell each other comes over as it was said."""

import pytest

from clusterlink_engine.control.orders import Order, Report
from clusterlink_engine.replication.status import PartitionStatus

STATUS = PartitionStatus(
    "COPYING", 0, 7, 0, 7, 9, 7, True, False, True, True, 0, 3, True, 0, -1, -1, 12, False, 1_700_000_000_000
)


@pytest.mark.parametrize(
    "order",
    [
        Order(),
        Order(number=3, records={"link/a": "{}", "mirror/b": None}, is_snapshot=True),
        Order(number=4, slot=0, grants={}, fillers=()),
        Order(number=5, slot=2, grants={0: (7, True), 63: (8, False)}, fillers=(1, 2**40)),
        Order(number=6, holds={("a/b", 0): 2**40, ("a", 3): 0}),
        Order(number=7, goodbye=True),
    ],
)
def test_an_order(order: Order) -> None:
    assert Order.decode(order.encode()) == order


def test_a_report() -> None:
    report = Report(
        "m",
        "h",
        1,
        "p",
        5,
        {("a", 0): STATUS},
        (("a", 1), ("b/c", 2)),
        claimed=(1, 2**40),
        undrained=(3,),
        leaving=True,
    )
    assert Report.decode(report.encode()) == report
    assert Report.decode(Report("m", "h", 1, "p").encode()) == Report("m", "h", 1, "p")
