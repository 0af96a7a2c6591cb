"""Small random functions: prologue, a tangle of blocks, calls, exception edges."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass

from tests.soundness.encoding import RSP, TEMPLATES, Memory, Place, Template, encode

RBP = 5
_SAVED = (3, 12, 13, 14, 15)
_SCRATCH = (0, 1, 2, 6, 7, 8, 9, 10, 11)
_LEAVE_OUT = ("push", "pop", "leave", "enter", "div", "idiv", "cpuid", "rdtsc", "rep",
              "test", "cmp ", "bt ", "xlat", "sahf", "nop", "lods", "movs ", "stos", "cmps",
              "scas")  # fmt: skip
_FREQUENT = ("mov to rm", "mov from rm", "lea", "add imm8", "sub imm8", "and imm8",
             "xchg", "movsxd", "mov imm", "movzx byte", "movsx word", "xor to rm", "cmov4",
             "inc")  # fmt: skip
_COMMON = [t for t in TEMPLATES if t.name in _FREQUENT]
_REST = [t for t in TEMPLATES if not f"{t.name} ".startswith(_LEAVE_OUT)]
_STRINGS = [t for t in TEMPLATES if t.name in ("movs", "stos", "lods")]
_FILLER = b"\x0f\x1f\x40\x00"


@dataclass
class Piece:
    """One instruction of a function being written."""

    code: bytes
    target: int | None = None
    """Block that it jumps to; its displacement is still open."""
    is_call: bool = False
    handler: int | None = None
    """Block that is executed instead when it faults."""


@dataclass(frozen=True)
class Program:
    """Machine code of one function, and what a test has to know of it."""

    code: bytes
    prologue: int
    """Bytes of it that save registers and make room."""
    saves: int
    """Bytes of the frame, from the CFA down, that hold what the function must preserve."""
    calls: frozenset[int]
    """Offsets of calls; each goes to the address after the code."""
    faults: dict[int, int]
    """Offset of an instruction that may fault, to the offset of its handler."""
    hidden: int | None
    """That of ``faults`` which the analysis is not told of: nothing else leads there."""
    variables: tuple[tuple[int, int], ...] | None = None
    """First byte and end of each variable in the frame, from the CFA; None: not known."""


class Writer:
    """Writes one random function."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.framed = rng.random() < 0.3
        self.saved = rng.sample(_SAVED, rng.randrange(4))
        self.room = 8 * rng.randrange(2, 10)
        self.usable = [*_SCRATCH, *self.saved]
        self.count = rng.randrange(2, 8)

    def program(self) -> Program:
        """Write the function."""
        blocks = [self.block(number) for number in range(self.count)]
        prologue = self.prologue()
        blocks[0][:0] = prologue
        blocks[-1].append(Piece(b"\xc3"))
        hidden = self.rng.random() < 0.3
        if hidden:
            # Behind the return and, as compilers align it, behind a filler.
            filler = [Piece(_FILLER)] if self.rng.random() < 0.5 else []
            blocks[-1] += filler
            body = [Piece(self.instruction()) for _ in range(2)]
            back = Piece(b"\xe9", target=self.rng.randrange(1, self.count))
            blocks.append([*body, back])
        saves = 8 * (1 + self.framed + len(self.saved))
        program = _assemble(self.rng, blocks, prologue, saves, hidden)
        return dataclasses.replace(program, variables=self.variables(-saves - self.room))

    def variables(self, bottom: int) -> tuple[tuple[int, int], ...] | None:
        """Some pieces of the room are variables, the rest is for what has no name."""
        if self.rng.random() < 0.4:
            return None
        count = self.rng.randrange(1, self.room // 8 + 1)
        places = range(1, self.room // 8)
        cuts = [0, *sorted(self.rng.sample(places, min(count, len(places))))]
        pieces = zip(cuts, [*cuts[1:], self.room // 8], strict=True)
        return tuple(
            (bottom + 8 * first, bottom + 8 * end)
            for first, end in pieces
            if first < end and self.rng.random() < 0.6
        )

    def prologue(self) -> list[Piece]:
        """Save registers and make room."""
        code = [_push(RBP), encode(b"\x89", 8, field=RSP, place=RBP)] if self.framed else []
        code += [_push(number) for number in self.saved]
        code.append(b"\x48\x81\xec" + self.room.to_bytes(4, "little"))
        return [Piece(piece) for piece in code]

    def block(self, number: int) -> list[Piece]:
        """A block; the last one jumps nowhere."""
        rng = self.rng
        pieces = [Piece(self.instruction()) for _ in range(rng.randrange(1, 7))]
        for piece in pieces:
            if rng.random() < 0.05:
                piece.handler = rng.randrange(1, self.count)
        if rng.random() < 0.3:
            pieces.insert(rng.randrange(len(pieces)), Piece(b"\xe8\0\0\0\0", is_call=True))
        chance = rng.random()
        if number + 1 < self.count and chance < 0.65:
            branch = bytes([0x0F, 0x80 | rng.randrange(16)]) if chance < 0.5 else b"\xe9"
            pieces.append(Piece(branch, target=rng.randrange(1, self.count)))
        return pieces

    def instruction(self) -> bytes:
        """A random one that leaves rsp alone and restores no callee-saved register."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.12:
            return encode(b"\x8d", 8, field=rng.choice(self.usable), place=self.local())
        if chance < 0.34:
            opcode, scratch = rng.choice((b"\x89", b"\x8b")), rng.choice(_SCRATCH)
            return encode(opcode, rng.choice((8, 8, 8, 4, 2)), field=scratch, place=self.local())
        if chance < 0.38:
            return _STRINGS[rng.randrange(3)].make(rng, 0, 0)
        template = rng.choice(_COMMON if chance < 0.75 else _REST)
        return self._with_operands(template)

    def local(self) -> Memory:
        """A slot of the frame, mostly aligned."""
        at = 8 * self.rng.randrange(self.room // 8)
        if self.rng.random() < 0.1:
            at = min(at + self.rng.randrange(8), self.room - 8)
        if self.framed and self.rng.random() < 0.5:
            return Memory(RBP, None, 1, at - self.room - 8 * len(self.saved))
        return Memory(RSP, None, 1, at)

    def _with_operands(self, template: Template) -> bytes:
        rng = self.rng
        place = self._place(template.form)
        in_frame = isinstance(place, Memory) and place.base in (RSP, RBP)
        register = rng.choice(_SCRATCH if in_frame else self.usable)
        size = rng.choice((*template.sizes, *[max(template.sizes)] * 3))
        return template.sized(rng, size, place, register)

    def _place(self, form: str) -> Place:
        rng = self.rng
        chance = rng.random()
        if form in ("r", "o", "-") or (form == "rm" and chance < 0.5):
            return rng.choice(self.usable)
        if chance < 0.75:
            return self.local()
        base = rng.choice((6, 7, rng.choice(self.usable)))
        index = rng.choice((None, None, None, 8, 9))
        return Memory(base, index, rng.choice((1, 8)), 8 * rng.randrange(-8, 8))


def _push(number: int) -> bytes:
    return (b"\x41" if number & 8 else b"") + bytes([0x50 | number & 7])


def _assemble(
    rng: random.Random,
    blocks: list[list[Piece]],
    prologue: list[Piece],
    saves: int,
    hidden: bool,
) -> Program:
    offsets: list[int] = []
    starts: list[int] = []
    end = 0
    for block in blocks:
        starts.append(end)
        for piece in block:
            offsets.append(end)
            end += len(piece.code) + (4 if piece.target is not None else 0)
    pieces = [piece for block in blocks for piece in block]
    code = b""
    faults: dict[int, int] = {}
    for piece, at in zip(pieces, offsets, strict=True):
        code += (
            piece.code[:1] + (end - at - 5).to_bytes(4, "little") if piece.is_call else (piece.code)
        )
        if piece.target is not None:
            code += (starts[piece.target] - len(code) - 4).to_bytes(4, "little", signed=True)
        if piece.handler is not None:
            faults[at] = starts[piece.handler]
    body = [at for at in offsets[len(prologue) :] if at < starts[-1] and at not in faults]
    secret = rng.choice(body) if hidden and body else None
    if secret is not None:
        faults[secret] = starts[-1]
    calls = frozenset(at for piece, at in zip(pieces, offsets, strict=True) if piece.is_call)
    size = sum(len(piece.code) for piece in prologue)
    return Program(code, size, saves, calls, faults, secret)


def write_program(rng: random.Random) -> Program:
    """Write a random function."""
    return Writer(rng).program()
