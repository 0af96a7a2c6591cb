"""VMCOREINFO in the memory of a dump that has no such note.

The kernel keeps the text in a page of its own from boot on (kernel/vmcore_info.c:
``vmcoreinfo_data``, and ``vmcoreinfo_note`` once it crashed); a hypervisor that was not told
where saves that page like any other.
"""

from __future__ import annotations

import mmap
import re

from crashkit.errors import TargetError
from crashkit.target.source import FileSource

_PAGE = 4096
_START = re.compile(
    rb"OSRELEASE=[\w.+~:-]{1,64}\n(?:BUILD-ID=[0-9a-f]{1,128}\n)?PAGESIZE=[0-9]{4,6}\n", re.ASCII
)
_NEEDED = (b"SYMBOL(init_uts_ns)=", b"NUMBER(phys_base)=", b"KERNELOFFSET=")
_MOST = 1 << 16
"""Copies looked at: a page cache may hold many."""
_ENOUGH = 4
"""Texts that differ; which is the kernel's is not known from the second on."""


CHUNK_OVERLAP = _PAGE
"""What pieces of memory that are searched one by one must have of the next."""


def find_vmcoreinfo(file: FileSource) -> bytes | None:
    """Search a dump's memory for the kernel's VMCOREINFO, where a file has it as it was.

    :returns: the text; None where there is none
    :raises TargetError: there are several that differ, so which is this kernel's is not known
    """
    search = Search(file.name)
    with mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_READ) as data:
        search.add(data)
    return search.result()


class Search:
    """What was found so far.

    Copies of one text count once, and one that only lacks the end of another (CRASHTIME is
    added last) counts as that other.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[bytes] = []
        self._looked_at = 0

    def add(self, data: bytes | mmap.mmap) -> None:
        """Search a piece of memory."""
        for match in _START.finditer(data):
            self._looked_at += 1
            if self._looked_at > _MOST or len(self._found) >= _ENOUGH:
                return
            text = data[match.start() : match.start() + _PAGE].split(b"\0", 1)[0]
            if all(needed in text for needed in _NEEDED):
                self._found = [other for other in self._found if not text.startswith(other)]
                if not any(other.startswith(text) for other in self._found):
                    self._found.append(text)

    def result(self) -> bytes | None:
        """Return the text; None where there is none.

        :raises TargetError: there are several that differ, so which is this kernel's is not known
        """
        found = self._found
        if len(found) > 1 or self._looked_at > _MOST:
            releases = sorted({text.split(b"\n", 1)[0].decode("ascii") for text in found})
            number = f"{len(found)} different" if len(found) > 1 else f"more than {_MOST}"
            named = f" ({', '.join(releases)})" if releases else ""
            raise TargetError(
                f"{self._name} has no VMCOREINFO note, and {number} texts of it in its memory"
                f"{named}: which one is this kernel's cannot be told"
            )
        return found[0] if found else None
