"""kallsyms of a kernel that does not say where they are: found in its image, and verified."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from drgn import FaultError, Program, Symbol, SymbolBinding, SymbolIndex, SymbolKind

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols.kallsyms_check import PAGE, contradiction, image_symbols
from crashkit.symbols.kallsyms_tables import Search, Tables
from crashkit.target.vmcoreinfo import VmcoreInfo

_WHAT = "kallsyms"
_CHUNK = 1 << 20
_USUAL_IMAGE = 64 << 20
"""Searched where VMCOREINFO names no data of the image."""
_BANNER = b"Linux version "
_FARTHEST = 1 << 16
"""Bytes to the next symbol from which on drgn takes them for a gap."""

# What nm(1)'s letters say, as drgn reads them: a capital letter is a global symbol.
_KINDS = {
    **dict.fromkeys("tT", SymbolKind.FUNC),
    **dict.fromkeys("bBcCdDgGnNrRsSvV", SymbolKind.OBJECT),
}
_WEAK = frozenset("vVwW")


def scan_kallsyms(prog: Program, info: VmcoreInfo) -> SymbolIndex:
    """Find the core kernel's symbol table in its image.

    The addresses that VMCOREINFO gives and the text of ``linux_banner`` must be those of the
    table, and nothing else there may look like one: which of two is the kernel's, and which
    somebody put there, is not guessed.

    :raises Unavailable: there is none, its pages are not in the dump, it contradicts
        VMCOREINFO, or there are several
    """
    known = image_symbols(info)
    start, size = _range(info, known)
    search = Search()
    for piece in _pieces(prog, start, size):
        search.add(piece)
    if search.candidates > 1:
        detail = f"{search.candidates} tables in the kernel's image, or parts of them"
        raise Unavailable(_WHAT, Reason.AMBIGUOUS, detail)
    reasons = [_contradiction(prog, one, known, info.release) for one in search.tables]
    good = [one for one, why in zip(search.tables, reasons, strict=True) if why is None]
    if len(good) == 1:
        return SymbolIndex(_symbols(good[0]))
    if good:
        detail = f"its addresses can be read in {len(good)} ways"
        raise Unavailable(_WHAT, Reason.AMBIGUOUS, detail)
    if reasons:
        detail = f"the table found is not this kernel's: {reasons[0]}"
        raise Unavailable(_WHAT, Reason.CORRUPTED, detail)
    raise Unavailable(_WHAT, Reason.NOT_IN_DUMP, _why_none(search.candidates > 0))


def _why_none(has_tokens: bool) -> str:
    if has_tokens:
        return "VMCOREINFO does not say where they are, and only a part of them was found"
    return "VMCOREINFO does not say where they are, and they were not found in the kernel's image"


def _range(info: VmcoreInfo, known: dict[str, int]) -> tuple[int, int]:
    # From the first function to the last of the variables that VMCOREINFO names: read-only
    # data, where the tables are, lies between.
    start = info.symbol("_stext") & -PAGE
    size = max(known.values()) & -PAGE
    return start, size - start or _USUAL_IMAGE


def _pieces(prog: Program, start: int, size: int) -> Iterator[bytearray]:
    # What can be read, in pieces that lie together: pages may be unmapped or not in the dump.
    piece = bytearray()
    end = start + size
    for at in range(start, end, _CHUNK):
        for part in _chunk(prog, at, min(_CHUNK, end - at)):
            if part is not None:
                piece += part
            elif piece:
                yield piece
                piece = bytearray()
    if piece:
        yield piece


def _chunk(prog: Program, at: int, size: int) -> Iterator[bytes | None]:
    try:
        yield prog.read(at, size)
    except FaultError:
        for page in range(at, at + size, PAGE):
            try:
                yield prog.read(page, min(PAGE, at + size - page))
            except FaultError:
                yield None


def _contradiction(
    prog: Program, tables: Tables, known: dict[str, int], release: str | None
) -> str | None:
    # Why the table cannot be this kernel's; None if it is.
    where: dict[str, list[int]] = {name: [] for name in (*known, "linux_banner")}
    for name, address in zip(tables.names, tables.addresses, strict=True):
        if name in where:
            where[name].append(address)
    why = contradiction(known, where.__getitem__)
    return why or _banner_contradiction(prog, where["linux_banner"], release)


def _banner_contradiction(prog: Program, at: Sequence[int], release: str | None) -> str | None:
    # Kernels without the symbols of data have no linux_banner among them.
    if len(at) != 1 or release is None:
        return None
    wanted = _BANNER + release.encode("ascii", "backslashreplace") + b" "
    try:
        text = read_bytes(prog, at[0], len(wanted), "linux_banner")
    except Unavailable:
        return None  # its page is not in the dump
    return None if text == wanted else "linux_banner is no text of this release there"


def _symbols(tables: Tables) -> list[Symbol]:
    bindings = {letter: _binding(letter) for letter in set(tables.letters)}
    kinds = {letter: _KINDS.get(letter, SymbolKind.UNKNOWN) for letter in bindings}
    return [
        Symbol(name, address, size, bindings[letter], kinds[letter])
        for name, letter, address, size in zip(
            tables.names, tables.letters, tables.addresses, _sizes(tables.addresses), strict=True
        )
    ]


def _binding(letter: str) -> SymbolBinding:
    if letter in _WEAK:
        return SymbolBinding.WEAK
    return SymbolBinding.GLOBAL if letter.isupper() else SymbolBinding.UNKNOWN


def _sizes(addresses: array[int]) -> Iterator[int]:
    # Up to the next symbol, as drgn counts them: of aliases the last one has the bytes.
    for address, following in pairwise(addresses):
        distance = following - address
        yield distance if distance < _FARTHEST else 0
    yield 0
