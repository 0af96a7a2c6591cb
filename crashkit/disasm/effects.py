"""What x86-64 instructions read and write: this project's own table.

Capstone 5's ``regs_access`` leaves out the accumulator and the memory write of
``cmpxchg`` and the memory write of ``cmpxchg8b``/``cmpxchg16b``, among others. So the
operations that compilers emit are listed here (Intel SDM volume 2), and for any other
every register operand counts as written and a memory operand in first place too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crashkit.disasm.instruction import (
    Access,
    AccessKind,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.registers import CALLER_SAVED, FULL_REGISTER, GENERAL

_READ: AccessKind = "read"
_WRITE: AccessKind = "write"
_BOTH: AccessKind = "read-write"

_CONDITIONS = (
    "a", "ae", "b", "be", "e", "g", "ge", "l", "le", "ne", "no", "np", "ns", "o", "p", "s",
)  # fmt: skip

_WRITE_FIRST = (
    "mov", "movabs", "movzx", "movsx", "movsxd", "movbe", "pop", "popcnt", "lzcnt", "tzcnt",
    "rdrand", "rdseed", "bzhi", "bextr", "andn", "blsr", "blsi", "blsmsk", "rorx", "sarx",
    "shlx", "shrx", "pdep", "pext", "rdfsbase", "rdgsbase", "smsw", "str", "sldt",
    *(f"set{condition}" for condition in _CONDITIONS),
)  # fmt: skip
_BOTH_FIRST = (
    "add", "sub", "and", "or", "xor", "adc", "sbb", "inc", "dec", "neg", "not", "shl", "shr",
    "sar", "sal", "rol", "ror", "rcl", "rcr", "shld", "shrd", "bts", "btr", "btc", "bswap",
    "bsf", "bsr", "crc32", "adcx", "adox", "lar", "lsl",
    *(f"cmov{condition}" for condition in _CONDITIONS),
)  # fmt: skip
_READ_ONLY = (
    "cmp", "test", "bt", "push", "call", "jmp", "ret", "retf", "ud0", "ud1", "ud2", "int3",
    "jcxz", "jecxz", "jrcxz", "clflush", "clflushopt", "clwb", "verr", "verw", "invlpg", "ltr",
    "lldt", "lidt", "lgdt", "lmsw", "ldmxcsr", "prefetch", "prefetchw", "prefetchnta",
    "prefetcht0", "prefetcht1", "prefetcht2", "lfence", "mfence", "sfence", "pause", "cli",
    "sti", "clac", "stac", "cld", "std", "clc", "stc", "cmc", "swapgs", "hlt", "endbr64",
    "endbr32", "wbinvd", "invd", "clts", "nop", "serialize", "wrfsbase", "wrgsbase",
    *(f"j{condition}" for condition in _CONDITIONS),
)  # fmt: skip

FIRST_OPERAND: Mapping[str, AccessKind] = {
    **dict.fromkeys(_WRITE_FIRST, _WRITE),
    **dict.fromkeys(_BOTH_FIRST, _BOTH),
    **dict.fromkeys(_READ_ONLY, _READ),
    "lea": _WRITE,
    "xchg": _BOTH,
    "xadd": _BOTH,
    "cmpxchg": _BOTH,
    "cmpxchg8b": _BOTH,
    "cmpxchg16b": _BOTH,
}
"""Operation to what it does to its first operand; the others are read, except in
:data:`_BOTH_ALL`. An operation that is not here has no exact effects, unless it is in
:data:`IMPLIED`."""

_BOTH_ALL = frozenset({"xchg", "xadd"})
ADDRESS_ONLY = frozenset({"lea", "nop", "invlpg"})
"""Operations whose memory operand is computed and not accessed."""

_PAIR = "rax rdx"
_STRING = "rsi rdi"

IMPLIED: Mapping[str, tuple[str, str]] = {
    "cmpxchg": ("rax", "rax"),
    "cmpxchg8b": ("rax rdx rbx rcx", _PAIR),
    "cmpxchg16b": ("rax rdx rbx rcx", _PAIR),
    "mul": ("rax", _PAIR),
    "div": (_PAIR, _PAIR),
    "idiv": (_PAIR, _PAIR),
    "cbw": ("rax", "rax"), "cwde": ("rax", "rax"), "cdqe": ("rax", "rax"),
    "cwd": (_PAIR, "rdx"), "cdq": ("rax", "rdx"), "cqo": ("rax", "rdx"),
    "push": ("rsp", "rsp"), "pop": ("rsp", "rsp"), "call": ("rsp", "rsp"), "ret": ("rsp", "rsp"),
    "pushfq": ("rsp", "rsp"), "popfq": ("rsp", "rsp"), "retf": ("rsp", "rsp"),
    "leave": ("rbp rsp", "rbp rsp"), "enter": ("rbp rsp", "rbp rsp"),
    "cpuid": ("rax rcx", "rax rbx rcx rdx"),
    "rdtsc": ("", _PAIR), "rdtscp": ("", "rax rdx rcx"), "rdpmc": ("rcx", _PAIR),
    "rdmsr": ("rcx", _PAIR), "wrmsr": ("rax rcx rdx", ""),
    "xgetbv": ("rcx", _PAIR), "xsetbv": ("rax rcx rdx", ""),
    "rdpkru": ("rcx", _PAIR), "wrpkru": ("rax rcx rdx", ""),
    "lahf": ("rax", "rax"), "sahf": ("rax", ""), "xlatb": ("rax rbx", "rax"),
    "loop": ("rcx", "rcx"), "loope": ("rcx", "rcx"), "loopne": ("rcx", "rcx"),
    "jcxz": ("rcx", ""), "jecxz": ("rcx", ""), "jrcxz": ("rcx", ""),
    "monitor": ("rax rcx rdx", ""), "mwait": ("rax rcx", ""),
    "syscall": (" ".join(CALLER_SAVED), "rax rcx r11"),
    "sysenter": ("", "rsp rax rcx rdx"),
    **{
        f"{name}{suffix}": effect
        for suffix in "bwdq"
        for name, effect in {
            "movs": (_STRING, _STRING), "cmps": (_STRING, _STRING),
            "stos": ("rax rdi", "rdi"), "scas": ("rax rdi", "rdi"), "lods": ("rsi", "rax rsi"),
            "ins": ("rdx rdi", "rdi"), "outs": ("rdx rsi", "rsi"),
        }.items()
    },
}  # fmt: skip
"""Operation to the registers it reads and writes without naming them."""

STRING_OPERATIONS: Mapping[str, int] = {
    f"{name}{suffix}": size
    for name in ("movs", "cmps", "stos", "scas", "lods", "ins", "outs")
    for suffix, size in {"b": 1, "w": 2, "d": 4, "q": 8}.items()
}
"""String operation to the bytes of one element."""

_CLOBBERS_MUCH = frozenset({
    "int", "into", "vmcall", "vmmcall", "tdcall", "seamcall", "encls", "enclu", "enclv",
    "getsec", "vmlaunch", "vmresume", "vmrun", "xbegin", "rsm", "lcall", "callf",
})  # fmt: skip
_GENERAL = frozenset(GENERAL)
_STACK = MemoryOperand(base="rsp", displacement=-8, size=8)
_STACK_TOP = MemoryOperand(base="rsp", size=8)
_FRAME = MemoryOperand(base="rbp", size=8)


@dataclass(frozen=True, slots=True)
class Effects:
    """Registers and memory an instruction touches; see :class:`Instruction`."""

    reads: frozenset[str]
    writes: frozenset[str]
    accesses: tuple[Access, ...]
    exact: bool


def effects_of(
    operation: str,
    repeats: bool,
    operands: Sequence[Operand],
    reported: Callable[[], tuple[set[str], set[str]]],
) -> Effects:
    """Compute the effects of one instruction.

    :param operation: bare name, e.g. ``cmpxchg``
    :param repeats: a string operation has a ``rep`` prefix
    :param operands: destination first
    :param reported: gives the registers read and written as the decoder reports them;
        asked only for operations that the tables do not know
    """
    exact = _is_exact(operation, operands)
    kinds = _operand_kinds(operation, operands)
    reads, writes = _implied(operation, repeats, operands)
    if not exact:
        more_reads, more_writes = reported()
        reads |= more_reads
        writes |= more_writes
    accesses: list[Access] = []
    for operand, kind in zip(operands, kinds, strict=True):
        if isinstance(operand, MemoryOperand):
            reads.update(FULL_REGISTER.get(name, name) for name in operand.registers)
            accesses.append(Access(_accessed(operation, operand), kind, operand.size))
        elif isinstance(operand, RegisterOperand) and operand.full is not None:
            if kind != _WRITE or operand.size < 4:
                reads.add(operand.full)
            if kind != _READ:
                writes.add(operand.full)
    accesses.extend(_stack_access(operation))
    return Effects(
        reads=frozenset(reads & _GENERAL),
        writes=frozenset(writes & _GENERAL),
        accesses=tuple(accesses),
        exact=exact,
    )


def _accessed(operation: str, operand: MemoryOperand) -> MemoryOperand:
    # SDM, POP: rsp has moved before it is used for the destination's address.
    if operation == "pop" and operand.base == "rsp":
        return dataclasses.replace(operand, displacement=operand.displacement + operand.size)
    return operand


def _is_exact(operation: str, operands: Sequence[Operand]) -> bool:
    if operation == "imul" or is_string_operation(operation, operands):
        return True
    if operation in FIRST_OPERAND:
        return all(
            not isinstance(operand, RegisterOperand) or operand.full is not None
            for operand in operands
        )
    return operation in IMPLIED and operation != "enter"


def is_string_operation(operation: str, operands: Sequence[Operand]) -> bool:
    """Whether it is a string operation, and not the SSE ``movsd`` or ``cmpsd``."""
    if operation not in STRING_OPERATIONS:
        return False
    return all(
        not isinstance(operand, RegisterOperand) or operand.full is not None for operand in operands
    )


def _operand_kinds(operation: str, operands: Sequence[Operand]) -> list[AccessKind]:
    count = len(operands)
    if operation in ADDRESS_ONLY:
        other = _WRITE if operation == "lea" else _READ
        return ["address" if isinstance(operand, MemoryOperand) else other for operand in operands]
    if is_string_operation(operation, operands):
        return [_string_kind(operation, operand) for operand in operands]
    if operation == "imul":
        first: AccessKind = {1: _READ, 2: _BOTH}.get(count, _WRITE)
        return [first, _READ, _READ][:count]
    if operation in ("mul", "div", "idiv"):
        return [_READ] * count
    if operation in _BOTH_ALL:
        return [_BOTH] * count
    if operation in FIRST_OPERAND:
        return [FIRST_OPERAND[operation], *[_READ] * (count - 1)][:count]
    return [_cautious_kind(number, operand) for number, operand in enumerate(operands)]


def _cautious_kind(number: int, operand: Operand) -> AccessKind:
    if isinstance(operand, MemoryOperand) and number > 0:
        return _READ
    return _BOTH


def _string_kind(operation: str, operand: Operand) -> AccessKind:
    if not isinstance(operand, MemoryOperand):
        return _WRITE if operation.startswith("lods") else _READ
    stores = operation.startswith(("movs", "stos", "ins"))
    return _WRITE if stores and operand.base in ("rdi", "edi") else _READ


def _implied(
    operation: str, repeats: bool, operands: Sequence[Operand]
) -> tuple[set[str], set[str]]:
    if operation in _CLOBBERS_MUCH:
        return set(GENERAL), set(GENERAL) - {"rsp"}
    if operation == "imul" and len(operands) == 1:
        operation = "mul"
    is_string = is_string_operation(operation, operands)
    if operation in STRING_OPERATIONS and not is_string:
        return set(), set()
    reads, writes = (set(names.split()) for names in IMPLIED.get(operation, ("", "")))
    if operation == "mul" and operands and operands[0].size < 4:
        reads.add("rdx")  # some of it stays
    if is_string and repeats:
        reads.add("rcx")
        writes.add("rcx")
    return reads, writes


def _stack_access(operation: str) -> tuple[Access, ...]:
    if operation in ("push", "call", "pushfq"):
        return (Access(_STACK, _WRITE, 8),)
    if operation in ("pop", "ret", "popfq"):
        return (Access(_STACK_TOP, _READ, 8),)
    if operation == "leave":
        return (Access(_FRAME, _READ, 8),)
    return ()
