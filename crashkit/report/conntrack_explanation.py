"""One entry's state explained: the document and where its parts come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.conntrack_explain import explain_entry
from crashkit.decode.conntrack_hash import find_in_chains
from crashkit.decode.conntrack_holders import holders_of
from crashkit.errors import Unavailable
from crashkit.report.conntrack import CONNTRACK
from crashkit.report.conntrack_entry import build_entry
from crashkit.report.document import build_limits, envelope
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target
from crashkit.report.text_conntrack import render_entry

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.decode.conntrack_table_entry import TableEntry
    from crashkit.decode.conntrack_timeout import StateTimeout

_WAYS = ("original", "reply")


def build_explanation(crash: Crash, entry: TableEntry, allocated: bool | None) -> Json:
    """Build the document.

    :param allocated: whether its slab object is; None: the allocator does not tell
    """
    explained = explain_entry(entry)
    ct = Object(crash.prog, "struct nf_conn *", entry.address)
    part = Part()
    part.put("kind", "explanation")
    part.put("entry", build_entry(entry))
    part.put("line", render_entry(entry))
    part.put("allocated", allocated)
    part.put("identity", _identity(allocated))
    part.put("linked", {way: _place(ct, number) for number, way in enumerate(_WAYS)})
    part.put("holders", _holders(crash, entry.address))
    part.put("timeout", None if explained.timeout is None else _timeout(explained.timeout))
    part.put("sentences", list(explained.sentences))
    return {
        **envelope(CONNTRACK),
        **part.done(),
        "target": build_target(crash),
        "limits": build_limits(crash.limits),
    }


def _identity(allocated: bool | None) -> str:
    if allocated is None:
        return "slab object (nobody says whether it is allocated)"
    return "allocated slab object" if allocated else "free slab object"


def _place(ct: Object, direction: int) -> str:
    try:
        found = find_in_chains(ct.prog_, ct, direction)
    except Unavailable as missing:
        return f"not known ({missing.detail or missing.reason.value})"
    return f"in bucket {found.bucket}" if found.bucket is not None else found.where


def _holders(crash: Crash, address: int) -> list[str]:
    try:
        return [holders_of(crash.prog, {address})[address].explain()]
    except Unavailable as missing:
        return [f"not known ({missing})"]


def _timeout(timeout: StateTimeout) -> Json:
    part = Part()
    part.put("sysctl", f"net.netfilter.{timeout.sysctl}")
    part.put("seconds", timeout.seconds)
    part.put("default", timeout.is_default)
    return part.done()
