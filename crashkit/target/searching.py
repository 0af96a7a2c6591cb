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
_MOST = 64
"""Copies looked at: a page cache may hold many."""


def find_vmcoreinfo(file: FileSource) -> bytes | None:
    """Search a dump's memory for the kernel's VMCOREINFO.

    Copies of one text count once, and one that only lacks the end of another (CRASHTIME is
    added last) counts as that other.

    :returns: the text; None where there is none
    :raises TargetError: there are several that differ, so which is this kernel's is not known
    """
    found: list[bytes] = []
    with mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_READ) as data:
        for number, match in enumerate(_START.finditer(data)):
            if number >= _MOST:
                break
            text = data[match.start() : match.start() + _PAGE].split(b"\0", 1)[0]
            if all(needed in text for needed in _NEEDED):
                found = [other for other in found if not text.startswith(other)]
                if not any(other.startswith(text) for other in found):
                    found.append(text)
    if len(found) > 1:
        releases = sorted({text.split(b"\n", 1)[0].decode("ascii") for text in found})
        raise TargetError(
            f"{file.name} has no VMCOREINFO note, and {len(found)} different texts of it in its "
            f"memory ({', '.join(releases[:4])}): which one is this kernel's cannot be told"
        )
    return found[0] if found else None
