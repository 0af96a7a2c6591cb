"""A mock kernel for unwinding: memory in pieces, symbols by hand, ORC written by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import drgn
from drgn import Program, Symbol, SymbolBinding, SymbolIndex, SymbolKind, TypeMember

from crashkit.registers import PT_REGS_MEMBERS
from crashkit.symbols.lookup import names_of

TEXT = 0xFFFF_FFFF_8100_0000
STACK = 0xFFFF_C900_0000_4000
ORC_IP = 0xFFFF_FFFF_8200_0000
ORC = 0xFFFF_FFFF_8210_0000
STACK_SIZE = 0x4000

# struct pt_regs' order (arch/x86/include/asm/ptrace.h)
_ORDER = (
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8",
    "ax", "cx", "dx", "si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss",
)  # fmt: skip
PT_REGS_SIZE = 8 * len(_ORDER)


def orc(sp_offset: int, *, sp: int = 5, bp: int = 0, bp_offset: int = 0, kind: int = 2) -> bytes:
    """One entry as Linux 6.4 to 7.0 writes it."""
    return struct.pack("<hhH", sp_offset, bp_offset, sp | bp << 4 | kind << 8)


class MockKernel:
    """Functions with one ORC rule each, a stack to write to, and the program over them."""

    def __init__(self) -> None:
        self.stack = bytearray(STACK_SIZE)
        self.text = bytearray(b"\x90" * 0x10000)
        self.functions: dict[str, tuple[int, int, bytes | None]] = {}
        self.missing: set[int] = set()

    def function(self, name: str, offset: int, rule: bytes | None, size: int = 0x100) -> int:
        self.functions[name] = (TEXT + offset, size, rule)
        return TEXT + offset

    def push(self, address: int, *words: int) -> None:
        at = address - STACK
        self.stack[at : at + 8 * len(words)] = struct.pack(f"<{len(words)}Q", *words)

    def pt_regs(self, address: int, **registers: int) -> None:
        self.push(address, *(registers.get(name, 0) for name in _ORDER))

    def program(self) -> Program:
        prog = Program(drgn.Platform(drgn.Architecture.X86_64))
        ips, entries = self._tables()
        self._segments(prog, {TEXT: self.text, STACK: self.stack, ORC_IP: ips, ORC: entries})
        self._types(prog)
        self._symbols(prog, len(ips) // 4)
        return prog

    def _tables(self) -> tuple[bytes, bytes]:
        ips, entries = b"", b""
        for start, size, rule in sorted(self.functions.values()):
            for address, entry in ((start, rule), (start + size, None)):
                ips += struct.pack("<i", address - (ORC_IP + len(ips)))
                entries += entry or orc(0, sp=0, kind=0)
        return ips, entries

    def _segments(self, prog: Program, memory: dict[int, bytes | bytearray]) -> None:
        for start, written in memory.items():
            content = bytes(written)

            def read(
                address: int, count: int, offset: int, physical: bool, content: bytes = content
            ) -> bytes:
                if any(offset <= page - STACK < offset + count for page in self.missing):
                    raise drgn.FaultError("page not in the dump", address)
                return bytes(content[offset : offset + count])

            prog.add_memory_segment(start, len(content), read)

    def _types(self, prog: Program) -> None:
        s16 = prog.int_type("s16", 2, True)
        u32 = prog.int_type("unsigned int", 4, False)
        u64 = prog.int_type("unsigned long", 8, False)

        def bits(name: str, first: int, width: int) -> TypeMember:
            return TypeMember(drgn.Object(prog, u32, bit_field_size=width), name, first)

        entry = prog.struct_type(
            "orc_entry",
            6,
            (
                TypeMember(s16, "sp_offset", 0),
                TypeMember(s16, "bp_offset", 16),
                bits("sp_reg", 32, 4),
                bits("bp_reg", 36, 4),
                bits("type", 40, 3),
                bits("signal", 43, 1),
            ),
        )
        members = [TypeMember(u64, name, 64 * n) for n, name in enumerate(_ORDER)]
        regs = prog.struct_type("pt_regs", PT_REGS_SIZE, members)
        assert set(PT_REGS_MEMBERS.values()) == set(_ORDER)
        known = {"orc_entry": entry, "pt_regs": regs}
        prog.register_type_finder("mock", lambda _p, _k, name, _f: known.get(name), enable_index=0)

    def _symbols(self, prog: Program, count: int) -> None:
        def symbol(name: str, address: int, size: int) -> Symbol:
            return Symbol(name, address, size, SymbolBinding.GLOBAL, SymbolKind.FUNC)

        found = [symbol(name, start, size) for name, (start, size, _r) in self.functions.items()]
        found += [
            symbol("__start_orc_unwind_ip", ORC_IP, 0),
            symbol("__stop_orc_unwind_ip", ORC_IP + 4 * count, 0),
            symbol("__start_orc_unwind", ORC, 0),
        ]
        names = names_of(prog)
        names.find_symbols = SymbolIndex(found)
        names.text = (TEXT, TEXT + len(self.text))


def functions(frames: Iterable[object]) -> list[str | None]:
    return [getattr(frame, "function", None) for frame in frames]
