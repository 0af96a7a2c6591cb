"""Reading bytes of a dump file by offset, bounded and without surprises."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Protocol

from crashkit.errors import TargetError


class Source(Protocol):
    """Bytes at offsets: a plain file, or a flattened one seen as if rearranged."""

    name: str
    """The file's path, for messages."""

    @property
    def size(self) -> int:
        """Offset in bytes after the last byte that is there."""

    def read(self, offset: int, size: int) -> bytes:
        """Read at most ``size`` bytes at ``offset``; short at the end."""


class FileSource:
    """A plain file; closes its descriptor."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Read at most ``size`` bytes at ``offset``; short at the end.

        :raises TargetError: the disk cannot read it
        """
        size = min(size, self.size - offset)
        if size <= 0 or offset < 0:
            return b""
        parts = []
        while size > 0:
            part = self._read_once(offset, size)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def _read_once(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError as error:
            raise TargetError(
                f"{self.name} cannot be read at byte {offset}: {error.strerror or error}; "
                "copy the dump from its disk again"
            ) from error
