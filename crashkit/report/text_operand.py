"""What an instruction accessed, for a fault without an expression in C."""

from __future__ import annotations

import re

from crashkit.report.columns import bare
from crashkit.report.parts import Json

_OPERAND = re.compile(
    r"(?P<segment>%[c-gs]s:)?(?P<distance>-?0x[0-9a-f]+)?"
    r"\((?P<base>%\w+)?(?:,(?P<index>%\w+))?(?:,(?P<scale>[1248]))?\)"
)
"""A memory operand as AT&T syntax writes it."""
_PREFIXES = ("lock", "rep", "repz", "repnz", "cs", "ds", "notrack", "data16")
_SIZES = {"b": 1, "w": 2, "l": 4, "q": 8}
_EXTENDS = re.compile(r"mov[sz]([bwl])[wlq]$")
_SUFFIXED = re.compile(
    r"(?:mov|add|sub|and|or|xor|inc|dec|cmp|test|not|neg|xadd|cmpxchg|bts|btr|btc|bt|div|idiv"
    r"|mul|imul|movs|stos|lods|scas|cmps)([bwlq])$"
)
_BY_NAME = (
    (re.compile(r"%r(?:[abcd]x|[sd]i|[sb]p|\d+)$"), 8),
    (re.compile(r"%(?:e(?:[abcd]x|[sd]i|[sb]p)|r\d+d)$"), 4),
    (re.compile(r"%(?:[abcd]x|[sd]i|[sb]p|r\d+w)$"), 2),
    (re.compile(r"%(?:[abcd][lh]|[sd]il|[sb]pl|r\d+b)$"), 1),
)


def accessed(fault: Json) -> str:
    """Name the memory by its address and by the operand: ``8 bytes at 0x38 (%rdi + 0x38, …)``.

    Where the operand is not understood, the instruction itself stands for it.
    """
    text = fault["instruction"] or ""
    where = f"address {bare(fault['address'])}" if fault["address"] else "an unknown address"
    size = _size(text)
    if size is not None and fault["address"]:
        where = f"{size} byte{'s' * (size > 1)} at {bare(fault['address'])}"
    how = _how(fault, text)
    return f"{where} ({how})" if how else where


def _how(fault: Json, text: str) -> str:
    operands = list(_OPERAND.finditer(text))
    bad = f"%{fault['bad_register']}"
    named = [one for one in operands if bad in (one["base"], one["index"])]
    chosen = (named or operands)[:1]
    if not chosen or (len(operands) > 1 and not named) or chosen[0]["segment"]:
        return text
    (operand,) = chosen
    parts = [operand["base"], _scaled(operand)]
    words = " + ".join(part for part in parts if part)
    distance = int(operand["distance"] or "0", 16)
    if distance:
        words += f" {'+' if distance > 0 else '-'} {abs(distance):#x}"
    known = fault.get("registers") or {}
    values = [
        f"{name[1:]} = {bare(known[name[1:]])}"
        for name in dict.fromkeys((operand["base"], operand["index"]))
        if name and name[1:] in known
    ]
    return ", ".join([words, *values])


def _scaled(operand: re.Match[str]) -> str | None:
    index, scale = operand["index"], operand["scale"]
    return f"{index} * {scale}" if index and scale not in (None, "1") else index


def _size(text: str) -> int | None:
    # As the mnemonic says, else its register operand; None where neither is plain.
    words = text.split()
    while words and words[0] in _PREFIXES:
        words = words[1:]
    if not words:
        return None
    name = words[0]
    if name in ("push", "pop"):
        return 8
    if found := _EXTENDS.match(name):
        return _SIZES[found[1]]
    if name in ("movzx", "movsx", "lea") or name.startswith(("v", "p", "cvt", "fx", "xs")):
        return None
    rest = _OPERAND.sub("", " ".join(words[1:]))
    for operand in re.split(r"[,\s]+", rest):
        for pattern, size in _BY_NAME:
            if pattern.fullmatch(operand):
                return size
    found = _SUFFIXED.match(name)
    return _SIZES[found[1]] if found else None
