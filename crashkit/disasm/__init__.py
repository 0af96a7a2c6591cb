"""Disassembly of x86-64 machine code taken from the dump.

The bytes come from the dump and not from a file: they carry the static keys,
alternatives and patched thunks as they ran.
"""

from __future__ import annotations

from collections.abc import Sequence

from drgn import Program

from crashkit.disasm.decoder import decode, decode_first
from crashkit.disasm.instruction import (
    Access,
    AccessKind,
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.disasm.literals import with_literals
from crashkit.disasm.probes import without_probes
from crashkit.disasm.recognise import IsWarning, NameAt, recognise
from crashkit.errors import Reason, Unavailable, UsageError
from crashkit.memory import read_bytes, read_pieces
from crashkit.symbols.file_text import text_of_file
from crashkit.symbols.init_text import is_given_up

__all__ = [
    "Access",
    "AccessKind",
    "Flow",
    "ImmediateOperand",
    "Instruction",
    "IsWarning",
    "MemoryOperand",
    "NameAt",
    "Operand",
    "RegisterOperand",
    "decode_one",
    "disassemble",
    "disassemble_function",
    "disassemble_known",
    "recognise",
    "thunk_at",
    "with_literals",
]

LONGEST_INSTRUCTION = 15
LONGEST_FUNCTION = 1 << 17
"""Bytes; the largest function of Debian's 6.1 cloud vmlinux has 13 KiB."""
_GIVEN_UP = "the kernel has freed its init code"
_SYNTAXES = ("att", "intel")


def disassemble(
    code: bytes,
    address: int,
    *,
    syntax: str = "att",
    name_at: NameAt | None = None,
    is_warning: IsWarning | None = None,
) -> list[Instruction]:
    """Disassemble ``code``, which was at ``address``.

    Undecodable bytes become ``(bad)`` instructions of one byte.

    :param syntax: ``att`` (as objdump and crash print) or ``intel``
    :param name_at: gives the symbol that starts at an address; with it thunks are seen
        through, see :func:`recognise`
    :param is_warning: whether the ``ud2`` at an address belongs to a WARN and so
        falls through
    :raises UsageError: another syntax
    """
    if syntax not in _SYNTAXES:
        raise UsageError(f"syntax {syntax!r} is not known; use att or intel")
    return recognise(decode(code, address, syntax), name_at=name_at, is_warning=is_warning)


def disassemble_function(
    prog: Program,
    start: int,
    size: int,
    *,
    syntax: str = "att",
    name_at: NameAt | None = None,
    is_warning: IsWarning | None = None,
    undo_probes: bool = False,
) -> list[Instruction]:
    """Disassemble ``size`` bytes from ``start``, read from the dump.

    Decoding is cached in ``prog.cache``; recognition is done for each call. A call that
    is the function's first instruction is the function tracer's and has no effect.

    :param undo_probes: give what a kprobe hides, as far as it keeps that itself

    :raises Unavailable: the bytes are not in the dump, the kernel has put others in their
        place, or ``size`` is no function's size
    """
    if not 0 < size <= LONGEST_FUNCTION:
        raise Unavailable(
            f"code at {start:#x}", Reason.CORRUPTED, f"a function of {size} bytes is not plausible"
        )
    key = ("crashkit.disasm", start, size, syntax, undo_probes)
    decoded = prog.cache.get(key)
    if decoded is None:
        if is_given_up(prog, start):
            raise Unavailable(f"code at {start:#x}", Reason.NOT_IN_DUMP, _GIVEN_UP)
        code = read_bytes(prog, start, size, f"code at {start:#x}")
        code = without_probes(prog, start, code) if undo_probes else code
        decoded = prog.cache[key] = disassemble(code, start, syntax=syntax)
    return recognise(decoded, name_at=name_at, is_warning=is_warning, entry=start)


def disassemble_known(
    prog: Program,
    start: int,
    size: int,
    *,
    name_at: NameAt | None = None,
    is_warning: IsWarning | None = None,
    undo_probes: bool = False,
) -> list[Instruction]:
    """Disassemble what the dump has of the ``size`` bytes from ``start``.

    What it lacks is taken from the kernel's debug file, if that has it. Otherwise there are
    gaps, and each piece is decoded from its first byte, which need not be an instruction's.
    Either way, whoever uses the result must know a place that is one, and treat all of it as
    less than proved.

    :returns: instructions in order of address
    :raises Unavailable: nothing of it is in the dump, or ``size`` is no function's size
    """
    what = f"code at {start:#x}"
    if not 0 < size <= LONGEST_FUNCTION:
        raise Unavailable(what, Reason.CORRUPTED, f"a function of {size} bytes is not plausible")
    given_up = is_given_up(prog, start)
    pieces = [] if given_up else read_pieces(prog, start, size)
    filling = text_of_file(prog, start, size)
    if filling is not None:
        pieces = [(start, _overlaid(filling, start, pieces))]
    if not pieces:
        why = _GIVEN_UP if given_up else "no byte of the function is there"
        raise Unavailable(what, Reason.NOT_IN_DUMP, why)
    decoded: list[Instruction] = []
    for address, code in pieces:
        code = without_probes(prog, address, code) if undo_probes else code
        decoded += disassemble(code, address)
    return recognise(decoded, name_at=name_at, is_warning=is_warning, entry=start)


def _overlaid(code: bytes, start: int, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    # The dump's own bytes over the file's: they are those that ran.
    whole = bytearray(code)
    for address, data in pieces:
        whole[address - start : address - start + len(data)] = data
    return bytes(whole)


def thunk_at(prog: Program, address: int) -> str | None:
    """Name what is made at run time like the kernel's own thunks for indirect jumps.

    Where jumps must not lie at some addresses (Indirect Target Selection), the kernel puts
    ``jmp *%rax`` elsewhere and jumps there (``its_allocate_thunk()``,
    arch/x86/kernel/alternative.c).

    :returns: the name of the kernel's thunk for that register; None when it is none
    """
    try:
        instruction = decode_one(prog, address)
    except Unavailable:
        return None
    if instruction.operation != "jmp" or instruction.via is None:
        return None
    return f"__x86_indirect_thunk_{instruction.via}"


def decode_one(prog: Program, address: int, *, syntax: str = "att") -> Instruction:
    """Decode the instruction at ``address`` from the dump's bytes.

    :raises Unavailable: the bytes are not in the dump, or they are no instruction
    """
    what = f"instruction at {address:#x}"
    first_page_rest = 0x1000 - (address & 0xFFF)
    try:
        code = read_bytes(prog, address, LONGEST_INSTRUCTION, what)
    except Unavailable:
        if first_page_rest >= LONGEST_INSTRUCTION:
            raise
        code = read_bytes(prog, address, first_page_rest, what)
    instruction = decode_first(code, address, syntax)
    if instruction is None:
        raise Unavailable(what, Reason.CORRUPTED, f"bytes {code.hex(' ')} are no instruction")
    return instruction
