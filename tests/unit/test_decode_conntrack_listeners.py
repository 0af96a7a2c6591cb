"""Whether a listener keeps destroyed entries from going."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crashkit.decode import ConntrackListener

FULL = ConntrackListener(
    address=0xFFFF_8880_0000_1000,
    port=101,
    net=0xFFFF_FFFF_8400_0000,
    events=("new", "destroy"),
    queued=9000,
    limit=8192,
    congested=False,
    reports_loss=True,
    absent={},
)


def test_a_full_socket_that_reports_loss() -> None:
    assert FULL.holds_up
    assert replace(FULL, queued=8000, congested=True).holds_up


@pytest.mark.parametrize(
    "other",
    [
        replace(FULL, queued=8191),
        replace(FULL, reports_loss=False),
        replace(FULL, reports_loss=None),
        replace(FULL, events=("new", "update")),
        replace(FULL, queued=None),
        replace(FULL, limit=None),
    ],
)
def test_anything_less_does_not(other: ConntrackListener) -> None:
    assert not other.holds_up
