"""VMCOREINFO: the ``KEY=value`` lines a kernel writes about itself for its dumps.

Source: kernel/vmcore_info.c (kernel/crash_core.c before v6.9) and
Documentation/admin-guide/kdump/vmcoreinfo.rst. The bytes come from a crashed
kernel and are hostile: sizes are bounded and text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from crashkit.errors import Reason, Unavailable

MAX_BYTES = 1 << 20
"""The kernel's note is one page; nothing sane is longer than this."""
MAX_LINES = 10_000
MAX_LINE_BYTES = 4096

# include/linux/crash_core.h and the vmcoreinfo_append_str calls of the kernel:
# SYMBOL and KERNELOFFSET are printed with %lx, OFFSET, SIZE and LENGTH with %lu,
# NUMBER with %ld or, for some addresses, with 0x%lx.
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{1,16}\Z", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,20}\Z", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,20}\Z|0x[0-9a-fA-F]{1,16}\Z", re.ASCII)
_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){4,64}\Z", re.ASCII)
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,5}))?", re.ASCII)


class VmcoreInfo(Mapping[str, str]):
    """The lines as a mapping of escaped text, with typed look-ups.

    :ivar warnings: what was wrong with the bytes, one sentence each
    """

    def __init__(
        self, lines: Mapping[str, str] | None = None, warnings: tuple[str, ...] = ()
    ) -> None:
        self._lines = dict(lines or {})
        self.warnings = warnings

    def __getitem__(self, key: str) -> str:
        return self._lines[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __repr__(self) -> str:
        return f"VmcoreInfo({len(self)} lines)"

    @property
    def release(self) -> str | None:
        """``OSRELEASE``, None when absent or empty."""
        return self.get("OSRELEASE") or None

    @property
    def build_id(self) -> str | None:
        """``BUILD-ID`` in lower-case hex; None when absent, not hex, or known to be garbage."""
        text = self.get("BUILD-ID", "").lower()
        if not _BUILD_ID.match(text) or has_garbage_build_id(self.release or ""):
            return None
        return text

    @property
    def crash_time(self) -> int | None:
        """``CRASHTIME`` in Unix seconds; only the kdump path of a kernel writes it."""
        text = self.get("CRASHTIME", "")
        return int(text) if _DECIMAL.match(text) and len(text) <= 11 else None

    @property
    def page_size(self) -> int:
        """``PAGESIZE`` in bytes. :raises Unavailable: absent or garbled."""
        return self._parsed("PAGESIZE", _DECIMAL, 10)

    @property
    def kernel_offset(self) -> int:
        """``KERNELOFFSET`` (KASLR) in bytes. :raises Unavailable: absent or garbled."""
        return self._parsed("KERNELOFFSET", _HEX, 16)

    def symbol(self, name: str) -> int:
        """Address of a kernel symbol, KASLR included.

        :raises Unavailable: absent or garbled
        """
        return self._parsed(f"SYMBOL({name})", _HEX, 16)

    def offset(self, member: str) -> int:
        """Byte offset of ``structure.member``. :raises Unavailable: absent or garbled."""
        return self._parsed(f"OFFSET({member})", _DECIMAL, 10)

    def size(self, structure: str) -> int:
        """``sizeof`` a structure in bytes. :raises Unavailable: absent or garbled."""
        return self._parsed(f"SIZE({structure})", _DECIMAL, 10)

    def length(self, array: str) -> int:
        """Number of elements of an array. :raises Unavailable: absent or garbled."""
        return self._parsed(f"LENGTH({array})", _DECIMAL, 10)

    def number(self, name: str) -> int:
        """A constant or variable, signed. :raises Unavailable: absent or garbled."""
        return self._parsed(f"NUMBER({name})", _NUMBER, 0)

    def _parsed(self, key: str, form: re.Pattern[str], base: int) -> int:
        text = self.get(key)
        if text is None:
            raise Unavailable(f"VMCOREINFO {key}", Reason.NOT_IN_DUMP, "no such line")
        if not form.match(text):
            raise Unavailable(f"VMCOREINFO {key}", Reason.CORRUPTED, f"is {text[:40]!r}")
        # int(text, 0) refuses a decimal with leading zeros; a sign or 0x says which base.
        return int(text, base or (16 if text.startswith("0x") else 10))


def parse(raw: bytes) -> VmcoreInfo:
    """Read the lines of a VMCOREINFO note; garbled ones are dropped with a warning."""
    warnings = []
    if len(raw) > MAX_BYTES:
        warnings.append(f"VMCOREINFO is {len(raw)} bytes long; only {MAX_BYTES} were read")
    text = raw[:MAX_BYTES].split(b"\0", 1)[0]
    lines: dict[str, str] = {}
    bad = 0
    for line in text.split(b"\n", MAX_LINES)[:MAX_LINES]:
        key, equals, value = line.partition(b"=")
        if not line:
            continue
        if not equals or not key or len(line) > MAX_LINE_BYTES:
            bad += 1
            continue
        lines[escape(key)] = escape(value)
    if bad:
        warnings.append(f"VMCOREINFO is garbled: {bad} lines are not KEY=value")
    info = VmcoreInfo(lines)
    return VmcoreInfo(lines, (*warnings, *_content_warnings(info)))


def _content_warnings(info: VmcoreInfo) -> Iterator[str]:
    if info.release is None:
        yield "VMCOREINFO has no OSRELEASE: the kernel release is not known"
    elif has_garbage_build_id(info.release):
        yield f"kernel {info.release} writes a wrong BUILD-ID into VMCOREINFO; it is not used"
    elif "BUILD-ID" in info and info.build_id is None:
        yield "VMCOREINFO BUILD-ID is garbled; it is not used"


def has_garbage_build_id(release: str) -> bool:
    """Whether this kernel release is known to write a wrong ``BUILD-ID``.

    905415ff3ffb ("lib/buildid: harden build ID parsing logic") broke the parsing
    of a kernel's own notes and reached stable branches without its fix
    (https://lore.kernel.org/all/20241104175256.2327164-1-jolsa@kernel.org/). Only
    the upstream numbering is recognised, as in drgn.
    """
    match = _VERSION.match(release)
    if not match:
        return False
    branch, patch = (int(match[1]), int(match[2])), int(match[3] or 0)
    first, fixed = _GARBAGE_BUILD_ID.get(branch, (1, 0))
    return first <= patch < fixed


# Stable branch: first patch level with the broken commit, first with the fix. The
# ranges are those drgn ignores; 5.15 and 6.10 never got the fix before their list ended.
_GARBAGE_BUILD_ID = {
    (5, 15): (168, 1 << 31),
    (6, 1): (113, 119),
    (6, 6): (55, 63),
    (6, 10): (14, 1 << 31),
    (6, 11): (3, 10),
}


def escape(raw: bytes) -> str:
    r"""Text that is safe to print: everything but printable ASCII becomes ``\xNN``."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in raw)
