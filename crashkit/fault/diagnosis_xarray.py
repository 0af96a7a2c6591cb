"""Entries of an xarray that are no pointers: values, and its own marks (linux/xarray.h)."""

from __future__ import annotations

import errno
import re

from drgn import Program, TypeKind

from crashkit.decode.address import classify_address
from crashkit.disasm import Flow, decode_one
from crashkit.errors import Unavailable
from crashkit.fault.diagnosis import MAX_ERRNO
from crashkit.fault.diagnosis_case import Case
from crashkit.fault.model import Diagnosis
from crashkit.layout import strip
from crashkit.memory import is_kernel_address
from crashkit.symbols import symbol_at

SLOT = "it was read from slot"
_U64 = 1 << 64
_WORD = 8
_INTERNAL = 2
_RETRY, _ZERO = 256, 257
"""What XA_RETRY_ENTRY and XA_ZERO_ENTRY are made of."""
_SMALLEST_NODE = 4096
"""xa_is_node(): smaller internal entries are no nodes."""
_NODES = "radix_tree_node"
"""The slab cache of struct xa_node (lib/radix-tree.c)."""
_MEMBER = re.compile(r"(?:->|\.)(xa_head|slots)(?:\[[^\]]*\])?$")
_NODE_POINTERS = ("struct xa_node *", "const struct xa_node *")
# lib/xarray.c, lib/radix-tree.c, lib/idr.c, mm/filemap.c: what returns an entry.
_RETURNS = re.compile(
    r"_*(?:xas?_(?:load|find\w*|next\w*|prev\w*|store|erase|cmpxchg|exchange|start|result)"
    r"|radix_tree_(?:lookup|delete\w*|next_chunk)|idr_(?:find|get_next\w*|remove|replace)"
    r"|filemap_get_entry|mapping_get_entry|find_(?:get|lock)_entry|pagecache_get_page"
    r"|filemap_get_folio|find_get_page|find_lock_page)(?:\.\w+)*"
)
_OF_FILES = re.compile(r"_*(?:filemap|mapping|find|pagecache)_")
_RESULT = re.compile(r"(?:\([^()]*\))?(\w+(?:\.\w+)*)\(\)")


def xarray_entry(case: Case) -> Diagnosis | None:
    """The value came from an xarray, and is an entry that must not be followed."""
    # Where there is no struct xa_node yet, an entry's low bits mean other things.
    said = _entry(case) if _slots(case.prog) else None
    if said is None:
        return None
    source = _from_slot(case) or _from_call(case)
    if source is None:
        return None
    what, number = said
    case.details |= {"xarray": what, "entry": number}
    case.says(source)
    if what == "value" and _OF_FILES.match(
        source.removeprefix("~ ").removeprefix("it came back from ")
    ):
        case.says("~ in the page cache such an entry stands for a page that was evicted or swapped")
    return case.is_("other", _words(what, number))


def _entry(case: Case) -> tuple[str, int] | None:
    value = case.bad.value
    if value % 2:
        # A tagged pointer, too, is odd: xa_tag_pointer().
        return None if is_kernel_address(value) else ("value", value >> 1)
    if value % 4 != _INTERNAL:
        return None
    inner = value >> 2
    signed = inner - (_U64 >> 2) if value >> 63 else inner
    if -MAX_ERRNO <= signed < 0:
        return "error", -signed
    if inner < _slots(case.prog):
        return "sibling", inner
    known = {_RETRY: "retry", _ZERO: "zero"}.get(inner)
    if known is None and value > _SMALLEST_NODE and is_kernel_address(value):
        known = "node"
    return (known, value - _INTERNAL if known == "node" else inner) if known else None


def _words(what: str, number: int) -> str:
    if what == "error":
        name = errno.errorcode.get(number, "?")
        return f"the xarray error -{number} ({name}), which xa_err() reads"
    return {
        "value": f"the xarray value entry {number:#x} ({number}), no pointer (xa_is_value())",
        "sibling": f"an xarray sibling entry: the entry itself is in slot {number}",
        "retry": "XA_RETRY_ENTRY: the xarray was changed, and the walk must begin again",
        "zero": "XA_ZERO_ENTRY: the index is reserved, and nothing is stored there",
        "node": f"the xarray's own link to a node, {number:#x}, not an entry",
    }[what]


def _slots(prog: Program) -> int:
    # XA_CHUNK_SIZE
    try:
        slots = strip(prog.type("struct xa_node").member("slots").type)
    except LookupError:
        return 0
    return slots.length or 0 if slots.kind is TypeKind.ARRAY else 0


def _from_slot(case: Case) -> str | None:
    last = case.chain[-1] if case.chain else None
    if case.place is not None:
        facts = classify_address(case.prog, case.place, aliases=False)
        if facts.slab is not None and facts.slab.cache_name == _NODES:
            first = case.prog.type("struct xa_node").member("slots").offset
            at = facts.slab.offset - first
            if at >= 0 and at % _WORD == 0 and at // _WORD < _slots(case.prog):
                node = f"the xarray node {facts.slab.object_start:#x}"
                return f"{SLOT} {at // _WORD} of {node}"
    if last is not None and last.value == case.bad.value and _is_entry(case, last.expression):
        return f"it was read from {last.expression}"
    return None


def _is_entry(case: Case, expression: str) -> bool:
    # Other structures have slots, too.
    found = _MEMBER.search(expression)
    if found is None:
        return False
    node = case.chain[-2].ctype if len(case.chain) > 1 else None
    return found[1] == "xa_head" or node in _NODE_POINTERS


def _from_call(case: Case) -> str | None:
    # This function's call, else one of the callers': each has the same value.
    last = case.chain[-1] if case.chain else None
    if last is None or last.value != case.bad.value:
        return None
    names = [_called(case.prog, last.defined_at)] if last.defined_at is not None else []
    told = [last.expression, *(s.expression for s in case.origins if s.value == last.value)]
    names += [found[1] for text in told if text and (found := _RESULT.fullmatch(text))]
    name = next((name for name in names if name and _RETURNS.fullmatch(name)), None)
    return _by_way(case, last.value) if name is None else f"it came back from {name}()"


def _by_way(case: Case, value: int | None) -> str | None:
    # What a caller passed was the result of a function that only handed an entry back.
    for step in case.origins:
        for position, name in enumerate(step.returned_by):
            if step.value == value and _RETURNS.fullmatch(name):
                way = f", by way of {step.returned_by[position - 1]}()" if position else ""
                return f"~ it came back from {name}(){way}"
    return None


def _called(prog: Program, address: int) -> str | None:
    try:
        instruction = decode_one(prog, address)
    except Unavailable:
        return None
    if instruction.flow is not Flow.CALL or instruction.target is None:
        return None
    symbol = symbol_at(prog, instruction.target)
    return symbol.name if symbol is not None and symbol.address == instruction.target else None
