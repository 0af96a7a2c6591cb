"""kallsyms of a kernel that does not say where they are: found in its image, and verified."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from drgn import FaultError, Program, Symbol, SymbolBinding, SymbolIndex, SymbolKind

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols.kallsyms_tables import Tables, find_tables, has_token_table
from crashkit.target.vmcoreinfo import VmcoreInfo

_WHAT = "kallsyms"
_PAGE = 4096
_CHUNK = 1 << 20
_MAX_IMAGE = 256 << 20
_USUAL_IMAGE = 64 << 20
"""Searched where VMCOREINFO names no data of the image."""
_BANNER = b"Linux version "
_SYMBOL = "SYMBOL("
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
    table; which of two tables is the kernel's is not guessed.

    :raises Unavailable: there is none, its pages are not in the dump, it contradicts
        VMCOREINFO, or there are several
    """
    start, size = _range(info)
    good: list[Tables] = []
    wrong: list[str] = []
    has_tokens = False
    for piece in _pieces(prog, start, size):
        found = tuple(find_tables(piece))
        has_tokens = has_tokens or (not found and has_token_table(piece))
        for tables in found:
            why = _contradiction(prog, tables, info)
            if why:
                wrong.append(why)
            else:
                good.append(tables)
    if len(good) == 1:
        return SymbolIndex(_symbols(good[0]))
    if good:
        raise Unavailable(_WHAT, Reason.AMBIGUOUS, f"{len(good)} tables in the kernel's image")
    if wrong:
        raise Unavailable(
            _WHAT, Reason.CORRUPTED, f"the table found is not this kernel's: {wrong[0]}"
        )
    raise Unavailable(_WHAT, Reason.NOT_IN_DUMP, _why_none(has_tokens))


def _why_none(has_tokens: bool) -> str:
    if has_tokens:
        return "VMCOREINFO does not say where they are, and only a part of them was found"
    return "VMCOREINFO does not say where they are, and they were not found in the kernel's image"


def _range(info: VmcoreInfo) -> tuple[int, int]:
    # From the first function to the last of the variables that VMCOREINFO names: read-only
    # data, where the tables are, lies between.
    start = info.symbol("_stext") & -_PAGE
    size = max(_known(info).values()) & -_PAGE
    return start, size - start or _USUAL_IMAGE


def _known(info: VmcoreInfo) -> dict[str, int]:
    # The symbols in the image. Others are no symbols: where an array is allocated, as
    # mem_section is, VMCOREINFO has the address of its memory.
    start = info.symbol("_stext") & -_PAGE
    known = {}
    for key in info:
        if key.startswith(_SYMBOL) and key.endswith(")"):
            name = key.removeprefix(_SYMBOL).removesuffix(")")
            try:
                known[name] = info.symbol(name)
            except Unavailable:
                continue  # garbled: said when VMCOREINFO was read
    return {name: at for name, at in known.items() if start <= at < start + _MAX_IMAGE}


def _pieces(prog: Program, start: int, size: int) -> Iterator[bytes]:
    # What can be read, in pieces that lie together: pages may be unmapped or not in the dump.
    piece = bytearray()
    end = start + size
    for at in range(start, end, _CHUNK):
        for part in _chunk(prog, at, min(_CHUNK, end - at)):
            if part is not None:
                piece += part
            elif piece:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def _chunk(prog: Program, at: int, size: int) -> Iterator[bytes | None]:
    try:
        yield prog.read(at, size)
    except FaultError:
        for page in range(at, at + size, _PAGE):
            try:
                yield prog.read(page, min(_PAGE, at + size - page))
            except FaultError:
                yield None


def _contradiction(prog: Program, tables: Tables, info: VmcoreInfo) -> str:
    # Why the table cannot be this kernel's; nothing if it is.
    known = _known(info)
    wanted = {*known, "linux_banner"}
    where: dict[str, list[int]] = {name: [] for name in wanted}
    for name, address in zip(tables.names, tables.addresses, strict=True):
        if name in wanted:
            where[name].append(address)
    for name, address in known.items():
        if where[name] and address not in where[name]:
            return f"{name} is at {address:#x}, there at {where[name][0]:#x}"
    if not where["_stext"]:
        return "it lacks _stext"
    return _banner_contradiction(prog, where["linux_banner"], info.release)


def _banner_contradiction(prog: Program, at: Sequence[int], release: str | None) -> str:
    # Kernels without the symbols of data have no linux_banner among them.
    if len(at) != 1 or release is None:
        return ""
    wanted = _BANNER + release.encode("ascii", "backslashreplace") + b" "
    try:
        text = read_bytes(prog, at[0], len(wanted), "linux_banner")
    except Unavailable:
        return ""  # its page is not in the dump
    return "" if text == wanted else "linux_banner is no text of this release there"


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
