"""AT&T text as objdump and crash print it.

Capstone's own AT&T printer adds a size suffix to every mnemonic and prints small
numbers in decimal; a person compares this text with ``dis`` and ``objdump -d``.
"""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.disasm.effects import is_string_operation
from crashkit.disasm.instruction import (
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_SUFFIX = {1: "b", 2: "w", 4: "l", 8: "q"}

_RENAMED = {
    "cbw": "cbtw", "cwde": "cwtl", "cdqe": "cltq", "cwd": "cwtd", "cdq": "cltd", "cqo": "cqto",
    "retf": "lret", "retfq": "lretq", "iretd": "iret", "wait": "fwait", "pushfq": "pushf",
    "popfq": "popf", "sal": "shl", "xlatb": "xlat", "sysret": "sysretl",
}  # fmt: skip
_PREFIX = {"repe": "repz", "repne": "repnz"}
_EXTENSIONS = {"movzx": "movz", "movsx": "movs", "movsxd": "movs"}

# Operations whose memory operand has one possible size, so that no suffix is printed.
_SIZELESS = frozenset({
    "lea", "call", "jmp", "ljmp", "lcall", "push", "pop", "invlpg", "lgdt", "lidt", "sgdt",
    "sidt", "fxsave", "fxrstor", "fxsave64", "fxrstor64", "xsave", "xsave64", "xsaves",
    "xsaves64", "xsavec", "xsavec64", "xsaveopt", "xsaveopt64", "xrstor", "xrstor64", "xrstors",
    "xrstors64", "cmpxchg8b", "cmpxchg16b", "clflush", "clflushopt", "clwb", "ldmxcsr",
    "stmxcsr", "prefetch", "prefetchw", "prefetchwt1", "prefetchnta", "prefetcht0",
    "prefetcht1", "prefetcht2", "fnstcw", "fldcw", "fnstenv", "fldenv", "fnsave", "frstor",
    "fnstsw", "verw", "verr", "ltr", "lldt", "str", "sldt", "smsw", "lmsw", "vmptrld",
    "vmptrst", "vmclear", "vmxon", "invpcid", "invept", "invvpid",
    *(f"set{c}" for c in (
        "a", "ae", "b", "be", "e", "g", "ge", "l", "le", "ne", "no", "np", "ns", "o", "p", "s",
    )),
})  # fmt: skip

_DEBUG_REGISTERS = {f"dr{number}": f"db{number}" for number in range(8)}
_SHIFTS = frozenset({"shl", "shr", "sar", "sal", "rol", "ror", "rcl", "rcr"})
_LEGACY_PREFIXES = bytes([*range(0x40, 0x50), 0x66, 0x67, 0x2E, 0x3E, 0x64, 0x65, 0xF0])

# The whole encoding names the text: fillers the compiler emits.
_FIXED = {b"\x66\x90": ("xchg", "%ax,%ax")}


def att_text(instruction: Instruction) -> tuple[str, str]:
    """Print one instruction; returns mnemonic (with prefixes) and operands."""
    data, operation = instruction.data, instruction.operation
    if data in _FIXED:
        return _FIXED[data]
    operands = instruction.arguments
    lead = [_PREFIX.get(prefix, prefix) for prefix in instruction.prefixes]
    if is_string_operation(operation, operands):
        return _string_text(operation, lead, operands)
    lead = [*_filler_prefixes(operation, data), *lead]
    if operands and isinstance(operands[0], ImmediateOperand) and _is_direct(instruction):
        return " ".join([*lead, operation]), f"{operands[0].value & _U64:x}"
    printed = [_operand_text(operand, instruction.displacement_size) for operand in operands]
    if operation in ("jmp", "call") and printed:
        printed[0] = "*" + printed[0]
    if operation in ("in", "out"):
        printed = ["(%dx)" if text == "%dx" else text for text in printed]
    if operation in _SHIFTS and data.lstrip(_LEGACY_PREFIXES)[0] & 0xFE == 0xD0:
        printed.pop()  # the encoding by one bit: objdump leaves out the $1
    if operation != "enter":
        printed.reverse()
    return " ".join([*lead, _mnemonic(operation, operands)]), ",".join(printed)


def _is_direct(instruction: Instruction) -> bool:
    return instruction.operation == "call" or instruction.operation[0] in "jlx"


def _mnemonic(operation: str, operands: Sequence[Operand]) -> str:
    if operation in _EXTENSIONS:
        source, target = operands[1].size, operands[0].size
        return _EXTENSIONS[operation] + _SUFFIX[source] + _SUFFIX[target]
    name = _RENAMED.get(operation, operation)
    if operation in _SIZELESS or not operands:
        return name
    return name + _suffix(operation, operands)


def _suffix(operation: str, operands: Sequence[Operand]) -> str:
    memory_size = next((op.size for op in operands if isinstance(op, MemoryOperand)), None)
    if memory_size is None:
        return ""
    if operation.startswith("f"):
        return _float_suffix(operation, memory_size)
    if operation.startswith(("v", "p")) and operation not in ("popcnt", "ptwrite"):
        return ""
    sizing = operands
    if operation in _SHIFTS or operation in ("shld", "shrd"):
        sizing = operands[:-1]  # %cl counts and gives no size
    if any(isinstance(operand, RegisterOperand) for operand in sizing):
        return ""
    return _SUFFIX.get(memory_size, "")


def _float_suffix(operation: str, size: int) -> str:
    if operation.startswith("fi"):
        return {2: "s", 4: "l", 8: "ll"}.get(size, "")
    return {4: "s", 8: "l", 10: "t"}.get(size, "")


def _operand_text(operand: Operand, displacement_size: int) -> str:
    if isinstance(operand, RegisterOperand):
        return "%" + _DEBUG_REGISTERS.get(operand.name, operand.name)
    if isinstance(operand, ImmediateOperand):
        mask = (1 << (8 * (operand.size or 8))) - 1
        return f"${operand.value & mask:#x}"
    return memory_text(operand, displacement_size)


def memory_text(memory: MemoryOperand, displacement_size: int) -> str:
    """Print a memory operand.

    :param displacement_size: bytes of the encoded displacement; a zero one is printed
        when it was encoded
    """
    lead = f"%{memory.segment}:" if memory.segment else ""
    if memory.base is None and memory.index is None:
        return f"{lead}{memory.displacement & _U64:#x}"
    displacement = f"{memory.displacement:#x}" if memory.displacement or displacement_size else ""
    base = f"%{memory.base}" if memory.base else ""
    index = f",%{memory.index},{memory.scale}" if memory.index else ""
    return f"{lead}{displacement}({base}{index})"


def _string_text(
    operation: str, lead: Sequence[str], operands: Sequence[Operand]
) -> tuple[str, str]:
    texts = []
    suffix = {"b": "b", "w": "w", "d": "l", "q": "q"}[operation[-1]]
    for operand in operands:
        if isinstance(operand, MemoryOperand):
            segment = operand.segment or ("es" if operand.base in ("rdi", "edi") else "ds")
            texts.append(f"%{segment}:(%{operand.base})")
        elif isinstance(operand, RegisterOperand):
            in_port = operand.name == "dx"
            texts.append(f"(%{operand.name})" if in_port else f"%{operand.name}")
            suffix = suffix if in_port else ""
    texts.reverse()
    return " ".join([*lead, operation[:-1] + suffix]), ",".join(texts)


def _filler_prefixes(operation: str, data: bytes) -> list[str]:
    # Long fillers carry extra 0x66 and a segment prefix; a retpoline's call is padded
    # with cs.
    if operation in ("call", "jmp") and data[0] == 0x2E:
        return ["cs"]
    if operation != "nop":
        return []
    lead = data[: len(data) - len(data.lstrip(b"\x66\x2e"))]
    sizes = max(0, lead.count(0x66) - 1)
    return ["data16"] * sizes + ["cs"] * lead.count(0x2E)
