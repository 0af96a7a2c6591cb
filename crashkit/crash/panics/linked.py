"""``list``: a list whose links did not fit: which one, what is there, whose objects they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.call_sites import argument, has_frame
from crashkit.crash.panics.printed import printed_lines
from crashkit.decode.identity import identify
from crashkit.decode.list_links import Link, ListNode, read_node
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

# lib/list_debug.c, Linux 4.9 to 7.0
_PTR = r"(?:0x)?[0-9a-f]{8,16}"
_WAS = rf"but was (?P<was>{_PTR}|\(null\))"
_PREV, _NEXT = (rf"\. \({role}=(?P<{role}>{_PTR})\)" for role in ("prev", "next"))
_ADD, _DEL = r"list_add corruption\. ", r"list_del corruption"
_TEXTS = (
    (rf"{_ADD}next->prev should be prev \((?P<prev>{_PTR})\), {_WAS}{_NEXT}", "add", "next->prev"),
    (rf"{_ADD}prev->next should be next \((?P<next>{_PTR})\), {_WAS}{_PREV}", "add", "prev->next"),
    (rf"list_add double add: new=(?P<entry>{_PTR}), prev=(?P<prev>{_PTR}), next=(?P<next>{_PTR})",
     "add", "entry"),
    (rf"{_DEL}, (?P<entry>{_PTR})->next is (?:LIST_POISON1|NULL)", "delete", "entry->next"),
    (rf"{_DEL}, (?P<entry>{_PTR})->prev is (?:LIST_POISON2|NULL)", "delete", "entry->prev"),
    (rf"{_DEL}\. prev->next should be (?P<entry>{_PTR}), {_WAS}(?:{_PREV})?", "delete",
     "prev->next"),
    (rf"{_DEL}\. next->prev should be (?P<entry>{_PTR}), {_WAS}(?:{_NEXT})?", "delete",
     "next->prev"),
)  # fmt: skip

# The checks' functions and their arguments; "_or_report" since Linux kernel commit
# b16c42c8fde8 ("list_debug: Introduce inline wrappers for debug checks") (in v6.6).
_CHECKS = {
    "__list_add_valid_or_report": ("add", {"entry": "new", "prev": "prev", "next": "next"}),
    "__list_add_valid": ("add", {"entry": "new", "prev": "prev", "next": "next"}),
    "__list_del_entry_valid_or_report": ("delete", {"entry": "entry"}),
    "__list_del_entry_valid": ("delete", {"entry": "entry"}),
}


@facts
class ListCorruption:
    """A list whose links did not fit. A None field has its reason in ``absent``."""

    operation: str
    """``add`` or ``delete``."""
    wrong: str | None
    """The link the kernel found wrong: ``next->prev``, ``prev->next``, ``entry->next``, …;
    ``entry``: it was on the list already."""
    origin: Mapping[str, str]
    """Role to where its address comes from: ``argument``, ``log``, ``memory`` or several."""
    nodes: tuple[ListNode, ...]
    links: tuple[Link, ...]
    """The links that make the entry's place, as they are now."""
    conflicts: tuple[str, ...]
    """Roles that the log and the arguments give different addresses for."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> ListCorruption | None:
    """Read the list around the entry.

    :raises Unavailable: neither the check's arguments nor the log tell the entry
    """
    printed = _printed(crash)
    operation, given = _arguments(crash)
    roles: dict[str, int] = {}
    origin: dict[str, str] = {}
    conflicts: list[str] = []
    for role in ("entry", "prev", "next"):
        said = printed.addresses.get(role)
        had = given.get(role)
        if said is not None and had is not None and said != had:
            conflicts.append(f"{role}: the log says {said:#x}, the argument is {had:#x}")
        value = had if had is not None else said
        if value is not None:
            roles[role] = value
            origin[role] = " and ".join(
                name for name, one in (("argument", had), ("log", said)) if one == value
            )
    operation = operation or printed.operation
    if not roles or not operation:
        raise Unavailable("the list", Reason.NOT_SAVED, "neither arguments nor the log name it")
    nodes = {role: read_node(crash.prog, role, address) for role, address in roles.items()}
    if operation == "delete" and "entry" in nodes:
        _neighbours(crash, nodes, origin)
    absent = {role: Reason.NOT_SAVED for role in ("entry", "prev", "next") if role not in nodes}
    return ListCorruption(
        operation=operation,
        wrong=printed.wrong,
        origin=origin,
        nodes=tuple(nodes.values()),
        links=tuple(_links(crash, operation, nodes, printed)),
        conflicts=tuple(conflicts),
        absent=absent,
    )


@facts
class _Printed:
    operation: str | None
    wrong: str | None
    addresses: Mapping[str, int]
    was: int | None


def _printed(crash: Crash) -> _Printed:
    for line in printed_lines(crash, before=10, after=10):
        for pattern, operation, wrong in _TEXTS:
            found = re.search(pattern, line)
            if found is None:
                continue
            words = found.groupdict()
            addresses = {
                role: _number(words[role]) for role in ("entry", "prev", "next") if words.get(role)
            }
            was = words.get("was")
            return _Printed(
                operation=operation,
                wrong=wrong,
                addresses=addresses,
                was=None if was is None else _number(was),
            )
    return _Printed(operation=None, wrong=None, addresses={}, was=None)


def _number(text: str) -> int:
    return 0 if "null" in text else int(text, 16)


def _arguments(crash: Crash) -> tuple[str | None, dict[str, int]]:
    for function, (operation, names) in _CHECKS.items():
        if not has_frame(crash, function):
            continue
        found: dict[str, int] = {}
        for role, name in names.items():
            try:
                found[role] = argument(crash, function, name)
            except Unavailable:
                continue
        return operation, found
    return None, {}


def _neighbours(crash: Crash, nodes: dict[str, ListNode], origin: dict[str, str]) -> None:
    # The neighbours of an entry that is to be removed are those it names itself.
    entry = nodes["entry"]
    for role, value, poison in (
        ("prev", entry.prev, entry.prev_words),
        ("next", entry.next, entry.next_words),
    ):
        if role not in nodes and value is not None and poison is None:
            nodes[role] = read_node(crash.prog, role, value)
            origin[role] = "memory"


def _links(
    crash: Crash, operation: str, nodes: Mapping[str, ListNode], printed: _Printed
) -> list[Link]:
    # add: prev and next name each other; delete: both name the entry.
    prev, next_, entry = nodes.get("prev"), nodes.get("next"), nodes.get("entry")
    links = []
    if prev is not None:
        expected = next_ if operation == "add" else entry
        if expected is not None:
            links.append(_link(crash, "prev->next", expected.address, prev.next, printed))
    if next_ is not None:
        expected = prev if operation == "add" else entry
        if expected is not None:
            links.append(_link(crash, "next->prev", expected.address, next_.prev, printed))
    return links


def _link(crash: Crash, expression: str, expected: int, now: int | None, printed: _Printed) -> Link:
    return Link(
        expression=expression,
        expected=expected,
        now=now,
        now_identity=None if now is None else identify(crash.prog, now),
        printed=printed.was if printed.wrong == expression else None,
        holds=None if now is None else now == expected,
    )
