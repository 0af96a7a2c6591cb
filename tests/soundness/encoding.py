"""Machine code from templates: an encoder of its own, for random operands.

Written from the instruction formats of the Intel SDM (volume 2, chapter 2), apart from
the decoder under test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

GENERAL = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""Register names by their number in an encoding."""
RSP = 4


@dataclass(frozen=True)
class Memory:
    """``displacement(base, index, scale)``, registers by number."""

    base: int | None
    index: int | None = None
    scale: int = 1
    displacement: int = 0


Place = int | Memory
"""A register by number, or memory."""


def encode(
    opcode: bytes,
    size: int,
    *,
    field: int = 0,
    place: Place | None = None,
    immediate: bytes = b"",
    lead: bytes = b"",
    wide: bool = True,
) -> bytes:
    """Encode one instruction.

    :param size: bytes of the operation; 1, 2, 4, 8
    :param field: the register (or opcode extension) in ModRM.reg
    :param place: ModRM.rm; without one there is no ModRM
    :param wide: eight bytes need REX.W
    """
    rex = 0x48 if size == 8 and wide else 0
    rex |= 0x44 if field & 8 else 0
    modrm = b""
    if isinstance(place, Memory):
        extra, modrm = _memory(field & 7, place)
        rex |= extra
    elif place is not None:
        rex |= 0x41 if place & 8 else 0
        modrm = bytes([0xC0 | (field & 7) << 3 | place & 7])
    prefix = b"\x66" if size == 2 else b""
    return lead + prefix + (bytes([rex]) if rex else b"") + opcode + modrm + immediate


def _memory(field: int, memory: Memory) -> tuple[int, bytes]:
    extra = 0x41 if (memory.base or 0) & 8 else 0
    extra |= 0x42 if (memory.index or 0) & 8 else 0
    displacement = memory.displacement.to_bytes(4, "little", signed=True)
    index = RSP if memory.index is None else memory.index & 7
    shift = {1: 0, 2: 1, 4: 2, 8: 3}[memory.scale]
    if memory.base is None:
        return extra, bytes([field << 3 | 4, shift << 6 | index << 3 | 5]) + displacement
    if memory.index is None and memory.base & 7 != RSP:
        return extra, bytes([0x80 | field << 3 | memory.base & 7]) + displacement
    return extra, bytes([0x84 | field << 3, shift << 6 | index << 3 | memory.base & 7]) + (
        displacement
    )


@dataclass(frozen=True)
class Template:
    """An instruction with its operands left open."""

    name: str
    opcode: bytes
    sizes: tuple[int, ...] = (1, 2, 4, 8)
    """An operation of one byte has ``opcode`` with its lowest bit cleared, where both exist."""
    field: int | None = None
    """Opcode extension; None: ModRM.reg is a register."""
    form: str = "rm"
    """``rm`` register or memory, ``r`` register, ``m`` memory, ``o`` register in the
    opcode, ``-`` no operand."""
    immediate: int = 0
    """Bytes of immediate; 9 means that of the operation, four at most."""
    lead: bytes = b""
    wide: bool = True

    def make(self, rng: random.Random, place: Place, register: int) -> bytes:
        """Encode it with these operands and a random size and immediate."""
        return self.sized(rng, rng.choice(self.sizes), place, register)

    def sized(self, rng: random.Random, size: int, place: Place, register: int) -> bytes:
        """Encode it for operands of ``size`` bytes."""
        opcode = self.opcode
        if size == 1 and len(self.sizes) > 1:
            opcode = opcode[:-1] + bytes([opcode[-1] & 0xFE])
        count = min(size, 4) if self.immediate == 9 else self.immediate
        immediate = rng.randbytes(count)
        if self.form == "o":
            number = place if isinstance(place, int) else register
            rex = (0x48 if size == 8 and self.wide else 0) | (0x41 if number & 8 else 0)
            lead = self.lead + (b"\x66" if size == 2 else b"") + (bytes([rex]) if rex else b"")
            return lead + opcode[:-1] + bytes([opcode[-1] | number & 7]) + immediate
        return encode(
            opcode,
            size,
            field=self._field(register),
            place=None if self.form == "-" else place,
            immediate=immediate,
            lead=self.lead,
            wide=self.wide,
        )

    def _field(self, register: int) -> int:
        if self.field is not None:
            return self.field
        return 0 if self.form == "-" else register


def _b(text: str) -> bytes:
    return bytes.fromhex(text)


_WIDE = (2, 4, 8)
_ARITHMETIC = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
_SHIFTS = {"rol": 0, "ror": 1, "rcl": 2, "rcr": 3, "shl": 4, "shr": 5, "sar": 7}

TEMPLATES: tuple[Template, ...] = (
    *(Template(f"{n} to rm", bytes([8 * i + 1])) for i, n in enumerate(_ARITHMETIC)),
    *(Template(f"{n} from rm", bytes([8 * i + 3])) for i, n in enumerate(_ARITHMETIC)),
    *(
        Template(f"{n} imm", b"\x81", field=i, immediate=9, sizes=_WIDE)
        for i, n in enumerate(_ARITHMETIC)
    ),
    *(
        Template(f"{n} imm8", b"\x83", field=i, immediate=1, sizes=_WIDE)
        for i, n in enumerate(_ARITHMETIC)
    ),
    *(Template(f"{n} by 1", b"\xd1", field=f) for n, f in _SHIFTS.items()),
    *(Template(f"{n} by cl", b"\xd3", field=f) for n, f in _SHIFTS.items()),
    *(Template(f"{n} imm8", b"\xc1", field=f, immediate=1) for n, f in _SHIFTS.items()),
    *(Template(f"lock {n}", bytes([8 * i + 1]), form="m", lead=b"\xf0")
      for i, n in enumerate(_ARITHMETIC[:-1])),
    Template("mov to rm", b"\x89"),
    Template("mov from rm", b"\x8b"),
    Template("mov imm", b"\xc7", field=0, immediate=9),
    Template("mov imm to register", b"\xb8", form="o", immediate=4, sizes=(4,)),
    Template("movabs", b"\xb8", form="o", immediate=8, sizes=(8,)),
    Template("mov imm8 to register", b"\xb0", form="o", immediate=1, sizes=(1,)),
    Template("movzx byte", _b("0fb6"), sizes=_WIDE),
    Template("movzx word", _b("0fb7"), sizes=(4, 8)),
    Template("movsx byte", _b("0fbe"), sizes=_WIDE),
    Template("movsx word", _b("0fbf"), sizes=(4, 8)),
    Template("movsxd", b"\x63", sizes=(4, 8)),
    Template("lea", b"\x8d", form="m", sizes=_WIDE),
    Template("xchg", b"\x87"),
    Template("xadd", _b("0fc1")),
    Template("cmpxchg", _b("0fb1")),
    Template("lock cmpxchg", _b("0fb1"), form="m", lead=b"\xf0"),
    Template("cmpxchg8b", _b("0fc7"), form="m", field=1, sizes=(4,)),
    Template("cmpxchg16b", _b("0fc7"), form="m", field=1, sizes=(8,)),
    Template("test", b"\x85"),
    Template("test imm", b"\xf7", field=0, immediate=9),
    Template("not", b"\xf7", field=2),
    Template("neg", b"\xf7", field=3),
    Template("mul", b"\xf7", field=4),
    Template("imul", b"\xf7", field=5),
    Template("div", b"\xf7", field=6),
    Template("idiv", b"\xf7", field=7),
    Template("imul two", _b("0faf"), sizes=_WIDE),
    Template("imul three", b"\x69", immediate=9, sizes=_WIDE),
    Template("imul imm8", b"\x6b", immediate=1, sizes=_WIDE),
    Template("inc", b"\xff", field=0),
    Template("dec", b"\xff", field=1),
    Template("push rm", b"\xff", field=6, sizes=(8,), wide=False),
    Template("pop rm", b"\x8f", field=0, sizes=(8,), wide=False),
    Template("push", b"\x50", form="o", sizes=(8,), wide=False),
    Template("pop", b"\x58", form="o", sizes=(8,), wide=False),
    Template("push word", b"\x50", form="o", sizes=(2,)),
    Template("pop word", b"\x58", form="o", sizes=(2,)),
    Template("push imm8", b"\x6a", form="-", immediate=1, sizes=(8,), wide=False),
    Template("push imm32", b"\x68", form="-", immediate=4, sizes=(8,), wide=False),
    Template("pushf", b"\x9c", form="-", sizes=(8,), wide=False),
    Template("bt", _b("0fa3"), sizes=_WIDE, form="r"),
    Template("bts", _b("0fab"), sizes=_WIDE, form="r"),
    Template("btr", _b("0fb3"), sizes=_WIDE, form="r"),
    Template("btc", _b("0fbb"), sizes=_WIDE, form="r"),
    *(Template(f"{n} imm", _b("0fba"), field=f, immediate=1, sizes=_WIDE)
      for n, f in {"bt": 4, "bts": 5, "btr": 6, "btc": 7}.items()),
    Template("bsf", _b("0fbc"), sizes=_WIDE),
    Template("bsr", _b("0fbd"), sizes=_WIDE),
    Template("popcnt", _b("0fb8"), sizes=_WIDE, lead=b"\xf3"),
    Template("bswap", _b("0fc8"), form="o", sizes=(4, 8)),
    Template("shld imm", _b("0fa4"), immediate=1, sizes=_WIDE),
    Template("shld cl", _b("0fa5"), sizes=_WIDE),
    Template("shrd imm", _b("0fac"), immediate=1, sizes=_WIDE),
    Template("shrd cl", _b("0fad"), sizes=_WIDE),
    *(Template(f"cmov{c:x}", bytes([0x0F, 0x40 + c]), sizes=_WIDE) for c in range(16)),
    *(Template(f"set{c:x}", bytes([0x0F, 0x90 + c]), sizes=(1,), field=0) for c in range(16)),
    Template("cbw", b"\x98", form="-", sizes=_WIDE),
    Template("cwd", b"\x99", form="-", sizes=_WIDE),
    Template("lahf", b"\x9f", form="-", sizes=(4,)),
    Template("sahf", b"\x9e", form="-", sizes=(4,)),
    Template("xlat", b"\xd7", form="-", sizes=(4,)),
    Template("leave", b"\xc9", form="-", sizes=(4,)),
    Template("enter", _b("c8200000"), form="-", sizes=(4,)),
    Template("nop", _b("0f1f"), field=0, sizes=(2, 4)),
    Template("cpuid", _b("0fa2"), form="-", sizes=(4,)),
    Template("rdtsc", _b("0f31"), form="-", sizes=(4,)),
    *(Template(n, bytes([o]), form="-") for n, o in
      {"movs": 0xA5, "cmps": 0xA7, "stos": 0xAB, "lods": 0xAD, "scas": 0xAF}.items()),
    *(Template(f"rep {n}", bytes([o]), form="-", lead=b"\xf3") for n, o in
      {"movs": 0xA5, "cmps": 0xA7, "stos": 0xAB, "lods": 0xAD, "scas": 0xAF}.items()),
    *(Template(f"repne {n}", bytes([o]), form="-", lead=b"\xf2") for n, o in
      {"cmps": 0xA7, "scas": 0xAF}.items()),
)  # fmt: skip
"""The general-purpose set, one row per encoding."""


def random_place(rng: random.Random, form: str, bases: tuple[int, ...]) -> Place:
    """Choose a register, or memory near what one of ``bases`` points at."""
    if form in ("r", "o") or (form == "rm" and rng.random() < 0.5):
        return rng.choice([n for n in range(16) if n != RSP])
    base = rng.choice(bases)
    index = rng.choice([None, None, None, 8, 9, 1])
    return Memory(base, index, rng.choice((1, 2, 4, 8)), rng.randrange(-256, 256))
