"""Recovered arguments as text: values as crash and a person write them."""

from __future__ import annotations

import re

from crashkit.report.columns import bare
from crashkit.report.parts import Json

_HEX_FROM = 4096
"""Unsigned longs from here on are flags, addresses or sizes: easier read in hex."""

# C types with a sign, as DWARF and BTF spell them, and the kernel's names for them.
_SIGNED = frozenset(
    {
        "char", "signed char", "short", "int", "long", "long long", "short int", "long int",
        "long long int", "s8", "s16", "s32", "s64", "ssize_t", "loff_t", "pid_t",
    }
)  # fmt: skip
_BITS = {
    "char": 8, "signed char": 8, "s8": 8, "short": 16, "short int": 16, "s16": 16,
    "int": 32, "s32": 32, "pid_t": 32,
}  # fmt: skip
_PLAIN = ("stack of task", "vmalloc area", "IRQ stack of", "NMI stack of")
"""Said of what lies on a stack, which the address shows already."""
_SLAB = re.compile(r"^(free )?slab object (.*)$")


def arguments(frame: Json, *, lost: bool, pointers: bool, named: bool) -> list[str]:
    """The arguments of a frame as ``name=value``, inferred ones marked ``~``.

    :param lost: add those that cannot be had, as ``name=?``
    :param pointers: add of the lost ones at least the pointers
    :param named: say what the values point at
    """
    known = [_known(argument, named=named) for argument in frame["arguments"]]
    return known + [
        f"{missing['name']}=?"
        for missing in frame["missing"]
        if lost or (pointers and missing["ctype"].endswith("*"))
    ]


def _known(argument: Json, *, named: bool) -> str:
    text = f"{argument['name']}={written(argument['value'], argument['ctype'])}"
    if argument["certainty"] == "inferred":
        text += "~"
    if argument["current"] is not None:
        text += f" (now {written(argument['current'], argument['ctype'])})"
    if argument["conflict"]:
        text += " (conflict)"
    label = identity(argument["identity"]) if named else None
    return f"{text} [{label}]" if label else text


def identity(words: str | None) -> str | None:
    """Shorten what a pointer points at: a slab object by its cache, a stack not at all."""
    found = _SLAB.match(words or "")
    if found is None:
        return None if (words or "").startswith(_PLAIN) else words
    return f"{found[2]}, free" if found[1] else found[2]


def written(value: str, ctype: str) -> str:
    """Write an argument: a pointer in 16 digits, a number signed or in hex as its type asks."""
    number, plain = int(value, 16), ctype.removeprefix("const ").strip()
    if plain.endswith("*"):
        return bare(value)
    if plain in _SIGNED:
        bits = _BITS.get(plain, 64)
        return str(number - (1 << bits) if number >> (bits - 1) else number)
    wide = plain in ("unsigned long", "long unsigned int", "u64", "size_t")
    if number >= _HEX_FROM and wide:
        return hex(number) if number <= 0xFFFF_FFFF else bare(value)
    return bare(value) if number > 0xFFFF_FFFF else str(number)
