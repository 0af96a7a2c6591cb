"""Micro-functions with their known answers, as ``functions/*.txt`` hold them.

A function begins with ``== name``. Lines of source follow, and between them
``#? place = term`` or ``place != term``: what holds before the next instruction.
``place`` is a register, ``save`` or ``nosave`` with a register asks what the prologue
saved. Terms are written as :func:`written` does. ``#! word`` lines say what is known from
elsewhere: ``bug``, ``warn``, ``incomplete``, ``edge FROM TO`` (labels of an exception
edge), ``name OFFSET NAME`` (a symbol), ``variable FIRST END`` (from the CFA; what debug
information lists, nothing is known of variables without one), ``local FIRST END`` (such
a variable, from the stack pointer in the function's body), ``pointee REGISTER BYTES``
(what every callee takes a pointer to). ``#= bytes`` is GNU as's output for the source;
``python -m tests.soundness.functions_file`` writes it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crashkit.dataflow import (
    Const,
    Entry,
    FrameAddress,
    Load,
    Masked,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
)

FOLDER = Path(__file__).parent / "functions"
_LABEL = re.compile(r"(\w+):\s*")


@dataclass
class Function:
    """One micro-function."""

    name: str
    source: list[str] = field(default_factory=list)
    code: bytes = b""
    words: list[list[str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Label to the number of its instruction."""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Number of an instruction, and what holds before it."""

    def has(self, word: str) -> bool:
        """Whether a ``#!`` line says so."""
        return [word] in self.words

    def said(self, word: str) -> list[list[str]]:
        """What the ``#!`` lines with this first word say."""
        return [line[1:] for line in self.words if line[0] == word]


def read_functions(path: Path) -> Iterator[Function]:
    """Read one file."""
    function: Function | None = None
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            if function is not None:
                yield function
            function = Function(line[3:])
        elif function is not None and line:
            _take(function, line)
    if function is not None:
        yield function


def _take(function: Function, line: str) -> None:
    number = len(function.source)
    if line.startswith("#="):
        function.code += bytes.fromhex(line[2:])
    elif line.startswith("#!"):
        function.words.append(line[2:].split())
    elif line.startswith("#?"):
        function.answers += [(number, answer.strip()) for answer in line[2:].split(",")]
    else:
        label = _LABEL.match(line)
        if label is not None:
            function.labels[label[1]] = number
        function.source.append(line)


def all_functions() -> list[Function]:
    """Every micro-function of every file."""
    return [function for path in sorted(FOLDER.glob("*.txt")) for function in read_functions(path)]


def written(term: Term) -> str:
    """Write a term: ``rdi``, ``0x10``, ``cfa-16``, ``[rdi+0x8]``, ``rdi:4s``."""
    match term:
        case Entry(register):
            return register
        case Const(value):
            return f"{value:#x}"
        case FrameAddress(offset):
            return f"cfa{offset:+d}"
        case Load(base, offset, size):
            place = (
                f"cfa{base.offset:+#x}"
                if isinstance(base, FrameAddress)
                else (f"{written(base)}{offset:+#x}")
            )
            return f"[{place}]" + ("" if size == 8 else f":{size}")
        case PerCpu(base, offset, _, _, segment):
            return f"{segment}:[{written(base)}{offset:+#x}]"
        case Sum(base, addend):
            return f"{written(base)}{addend:+#x}"
        case Masked(base, mask):
            return f"{written(base)}&{mask:#x}"
        case Part(base, size, signed):
            return f"{written(base)}:{size}{'s' if signed else ''}"
        case Result():
            return "result"
    return "?"


def assemble(function: Function) -> bytes:
    """Assemble a function's source with GNU as."""
    with tempfile.TemporaryDirectory() as name:
        source, made, raw = (Path(name) / part for part in ("f.s", "f.o", "f.bin"))
        source.write_text("\n".join(function.source) + "\n")
        subprocess.run(["as", "-o", made, source], check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, raw], check=True)
        return raw.read_bytes()


def can_assemble() -> bool:
    """Whether the assembler is at hand."""
    return shutil.which("as") is not None and shutil.which("objcopy") is not None


def rewrite(path: Path) -> None:
    """Write the bytes of every function of a file into it."""
    codes = {function.name: assemble(function) for function in read_functions(path)}
    lines: list[str] = []
    name = ""
    for line in [*path.read_text().splitlines(), "== "]:
        if line.startswith("== "):
            while lines and not lines[-1]:
                lines.pop()
            if name:
                code = codes[name]
                lines += [f"#= {code[n : n + 24].hex(' ')}" for n in range(0, len(code), 24)]
                lines.append("")
            name = line[3:]
        if not line.startswith("#=") and line != "== ":
            lines.append(line)
    path.write_text("\n".join(lines).rstrip("\n") + "\n")


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.txt")):
        rewrite(file)
