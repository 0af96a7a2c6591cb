"""The ``Code:`` line: the bytes around the trapping instruction."""

from __future__ import annotations

from dataclasses import dataclass

from crashkit.oops.lazy import LazyPattern

_BYTES = LazyPattern(
    r"\bCode: {1,2}(?P<bytes>(?:[<(]?[0-9a-f]{2}[>)]? ){2,160}[<(]?[0-9a-f]{2}[>)]?)(?:\s|$)"
)
_WORDS = LazyPattern(
    r"\b(?:Code|Instruction dump|Instruction DUMP): {0,2}"
    r"(?P<words>(?:[<(]?(?:[0-9a-f]{8}|[0-9a-f]{4})[>)]? {1,2}){1,40}"
    r"[<(]?(?:[0-9a-f]{8}|[0-9a-f]{4})[>)]?)(?:\s|$)"
)
_MORE_WORDS = LazyPattern(r"^(?:[<(]?[0-9a-f]{8}[>)]? ){3,15}[<(]?[0-9a-f]{8}[>)]?\s*$")
_FROM_EIP = 20
# v2.4, arch/i386/kernel/traps.c: show_registers() printed 20 bytes from EIP on, unmarked.
_BIG_ENDIAN = ("powerpc", "s390x", "sparc64", "parisc")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeBytes:
    """Machine code as the kernel printed it."""

    data: bytes
    trapping: int | None
    """Index of the first byte of the trapping instruction; None where it is not marked."""

    @property
    def before(self) -> bytes:
        """The bytes before the trapping instruction. Where they start is no boundary of
        instructions, on architectures whose instructions differ in length."""
        return self.data[: self.trapping or 0]

    @property
    def from_trap(self) -> bytes:
        """The trapping instruction and what follows; empty where it is not marked."""
        return b"" if self.trapping is None else self.data[self.trapping :]


def read_code(line: str, arch: str | None) -> CodeBytes | None:
    """Find the bytes of a ``Code:`` line; None where it holds none.

    Words (arm, arm64, powerpc, riscv, mips) are given back in the order they have in
    memory: little endian, but for powerpc, s390 and sparc, of which the text does not
    tell the byte order and the usual one of crash reports is taken.
    """
    if found := _BYTES.search(line):
        code = _make(found["bytes"].split(), "little")
        if arch == "i386" and code.trapping is None and len(code.data) <= _FROM_EIP:
            return CodeBytes(data=code.data, trapping=0)
        return code
    if found := _WORDS.search(line):
        return _make(found["words"].split(), "big" if arch in _BIG_ENDIAN else "little")
    return None


def read_more_code(line: str, arch: str | None) -> CodeBytes | None:
    """Find the bytes of a line that continues ``Instruction dump:`` (powerpc)."""
    found = _MORE_WORDS.match(line)
    return _make(line.split(), "big" if arch in _BIG_ENDIAN else "little") if found else None


def _make(words: list[str], order: str) -> CodeBytes:
    data = b""
    trapping: int | None = None
    for word in words:
        if word[0] in "<(" and trapping is None:
            trapping = len(data)
        digits = word.strip("<>()")
        piece = bytes.fromhex(digits)
        # Half words of one instruction are each in the machine's own order.
        data += piece if order == "big" else piece[::-1]
    return CodeBytes(data=data, trapping=trapping)
