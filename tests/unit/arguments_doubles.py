"""A stack of two frames, caller and callee, over machine code put together by hand."""

from __future__ import annotations

from collections.abc import Mapping

from drgn import Object, TypeParameter

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


def known(values: Mapping[str, int]) -> dict[str, RegisterValue]:
    return {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
    }
