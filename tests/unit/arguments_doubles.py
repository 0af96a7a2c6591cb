"""Stacks of a few frames over machine code put together by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from drgn import Object, TypeParameter

from crashkit.arguments import Argument, MissingArgument, StackArguments
from crashkit.symbols.lookup import names_of
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel

CALLER = 0xFFFF_FFFF_8100_0000
MIDDLE, CALLEE, OTHER = CALLER + 0x100, CALLER + 0x200, CALLER + 0x300
RETURN = CALLER + 0x17
SP = 0xFFFF_C900_0000_1000
"""Stack pointer before the caller's call."""
PASSED = 0xFFFF_8880_1234_5678
"""What the caller was passed in rdi and keeps in rbx."""

# push %rbx; sub $0x10,%rsp; mov %rdi,%rbx; mov $5,%esi; lea 8(%rsp),%rdx
_BEFORE = bytes.fromhex("53 48 83 ec 10 48 89 fb be 05 00 00 00 48 8d 54 24 08")
_AFTER = bytes.fromhex("48 83 c4 10 5b c3")  # add $0x10,%rsp; pop %rbx; ret
# xor %edi,%edi; xor %esi,%esi; xor %edx,%edx; nop; ret
_FORGETS = bytes.fromhex("31 ff 31 f6 31 d2 90 c3")
# test %rdi,%rdi; nop; nop; nop; nop; nop; ret
KEEPS = bytes.fromhex("48 85 ff 90 90 90 90 90 c3")
# mov %rsi,%rdx; mov %rdi,%rsi; xor %edi,%edi; jmp …
SHIFTS = bytes.fromhex("48 89 f2 48 89 fe 31 ff")
CALL_RAX = bytes.fromhex("0f 1f 00 ff d0")  # nopl (%rax); call *%rax


def jump(at: int, target: int) -> bytes:
    """``jmp target`` at ``at``."""
    return b"\xe9" + (target - at - 5).to_bytes(4, "little", signed=True)


def call(at: int, target: int) -> bytes:
    """``call target`` at ``at``."""
    return b"\xe8" + jump(at, target)[1:]


class TwoFrames:
    """``callee(unsigned long a, int b, long *c)``, stopped, below ``caller``."""

    def __init__(
        self, *, target: int = CALLEE, callee: bytes = _FORGETS, call: bytes | None = None
    ) -> None:
        self.kernel = Kernel()
        distance = (target - RETURN).to_bytes(4, "little", signed=True)
        self.put("caller", CALLER, _BEFORE + (call or b"\xe8" + distance) + _AFTER)
        self.put("callee", CALLEE, callee)
        names_of(self.kernel.prog).text = (CALLER, CALLER + 0x10000)
        self.registers = {"rbx": PASSED}
        self.described("callee")

    def put(self, name: str, address: int, code: bytes) -> None:
        self.kernel.put(address, code)
        self.kernel.symbol(name, address, len(code))

    def described(self, name: str) -> None:
        prog = self.kernel.prog
        types = {"a": "unsigned long", "b": "int"}
        made = [TypeParameter(prog.type(ctype), word) for word, ctype in types.items()]
        made.append(TypeParameter(prog.pointer_type(prog.type("long")), "c"))
        prototype = prog.function_type(prog.void_type(), made)
        self.kernel._variables[name] = Object(prog, prototype, address=CALLEE)

    def frames(
        self, registers: Mapping[str, int] | None = None, *, function: str = "callee"
    ) -> tuple[Frame, Frame]:
        """Innermost first; the callee stopped at +6 with these registers known."""
        inner = Frame(
            index=0, pc=CALLEE + 6, sp=SP - 8, slot=None, cfa=SP, function=function, offset=6,
            size=8, module=None, interrupted=True, registers=known(registers or {}),
        )  # fmt: skip
        outer = Frame(
            index=1, pc=RETURN, sp=SP, slot=SP - 8, cfa=SP + 0x20, function="caller",
            offset=RETURN - CALLER, size=29, module=None, registers=known(self.registers),
        )  # fmt: skip
        return inner, outer


class Stacked:
    """Functions by name and the frames of one stack of them, innermost first.

    ``callee`` is stopped after it has forgotten its arguments; a test says who called it.
    """

    def __init__(self, callee: bytes = _FORGETS, *ctypes: str) -> None:
        self.kernel = Kernel()
        names_of(self.kernel.prog).text = (CALLER, CALLER + 0x10000)
        self._at: dict[str, tuple[int, int]] = {}
        self.frames: list[Frame] = []
        self.put("callee", CALLEE, callee)
        self.describe("callee", *(ctypes or ("unsigned long", "unsigned long")))
        self.stop("callee", 6, sp=SP - 8, cfa=SP, interrupted=True)

    def put(self, name: str, address: int, code: bytes) -> int:
        """Add a function, in place of one of its name; gives the address after it."""
        self.kernel.put(address, code)
        self.kernel._symbols[:] = [s for s in self.kernel._symbols if s.name != name]
        self.kernel.symbol(name, address, len(code))
        self._at[name] = (address, len(code))
        return address + len(code)

    def describe(self, name: str, *ctypes: str) -> None:
        """Give a function parameters ``a``, ``b``, ``c``…"""
        prog = self.kernel.prog
        made = [TypeParameter(prog.type(ctype), chr(97 + n)) for n, ctype in enumerate(ctypes)]
        prototype = prog.function_type(prog.void_type(), made)
        self.kernel._variables[name] = Object(prog, prototype, address=self._at[name][0])

    def stop(
        self, name: str, offset: int, *, sp: int, cfa: int | None, interrupted: bool = False,
        how: str = "orc", **registers: int,
    ) -> Frame:  # fmt: skip
        """Add the next frame outward: a function stopped, with these registers known."""
        address, size = self._at[name]
        frame = Frame(
            index=len(self.frames), pc=address + offset, sp=sp, slot=None, cfa=cfa, function=name,
            offset=offset, size=size, module=None, interrupted=interrupted, how=how,
            registers=known(registers),
        )  # fmt: skip
        self.frames.append(frame)
        return frame

    def change(self, position: int, **fields: Any) -> None:
        """Replace fields of a frame."""
        self.frames[position] = replace(self.frames[position], **fields)

    def caller(
        self, before: bytes, after: bytes = b"\xc3", *, depth: int, target: int = CALLEE,
        how: str = "orc", **registers: int,
    ) -> Frame:  # fmt: skip
        """Add ``caller``, stopped in a call after ``before``, ``depth`` bytes below its CFA."""
        made = before + call(CALLER + len(before), target)
        self.put("caller", CALLER, made + after)
        self.stop("caller", len(made), sp=SP, cfa=SP + depth, how=how)
        self.change(-1, registers=known(registers))
        return self.frames[-1]

    def words(self, address: int, *values: int) -> None:
        """Write eight-byte words into memory."""
        for number, value in enumerate(values):
            self.kernel.put(address + 8 * number, value.to_bytes(8, "little"))

    def recover(self, position: int = 0) -> tuple[dict[str, Argument], dict[str, MissingArgument]]:
        """Recover the arguments of one frame, by name."""
        found, missing = StackArguments(self.kernel.prog, self.frames).of(position)
        return {a.name: a for a in found}, {m.name: m for m in missing}


def known(values: Mapping[str, int]) -> dict[str, RegisterValue]:
    return {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
    }
