"""Locks between runs of the lab: one guest at once, one download at once."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driver.errors import LabError


@contextmanager
def locked(path: Path, *, wait: float) -> Iterator[None]:
    """Hold the lock file *path*, waiting at most *wait* seconds for another run to end.

    :raises LabError: another run still holds it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        _acquire(file.fileno(), path, time.monotonic() + wait)
        yield


def _acquire(descriptor: int, path: Path, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise LabError(f"another run of the lab still holds {path}") from error
            time.sleep(0.5)
        else:
            return
