"""The ladder of a dump: the log, then the system, then stacks, then types.

The order in which things can be had of ever more damaged dumps, after retrace-server: each
rung is looked at by itself, and said as soon as it is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from crashkit.doctor.words import in_words
from crashkit.errors import Reason, Unavailable, in_brief
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash import Crash

_TYPED = {"dwarf": "DWARF", "hybrid": "DWARF and BTF", "btf": "BTF, from the dump itself"}
_WHOLE = "a dump that is whole"


@facts
class Rung:
    """One rung of the ladder."""

    what: str
    """``log``, ``system``, ``stacks`` or ``types``."""
    reached: str
    """``yes``, ``partly`` or ``no``."""
    detail: str
    """What was found there; why not, where it was not."""
    reason: Reason | None = None
    """Why it was not reached, or not wholly."""
    remedy: str = ""
    """What would lead further."""


def climb(crash: Crash) -> Iterator[Rung]:
    """Yield the four rungs in their order, each as soon as it was looked at."""
    for look in _RUNGS:
        yield look(crash)


def _log(crash: Crash) -> Rung:
    remedy = "vmcore-dmesg.txt beside the dump, or the console's log"
    try:
        count = crash.log.count("\n")
    except Unavailable as missing:
        why = in_words(missing)
        return Rung(what="log", reached="no", detail=why, reason=missing.reason, remedy=remedy)
    report = crash.oops
    title = (report.title or report.message) if report is not None else "no crash report in them"
    lost = [limit for limit in crash.limits if "kernel log" in limit.what]
    detail = f"{title} ({count} lines)" if report is not None else f"{count} lines, {title}"
    if not lost:
        return Rung(what="log", reached="yes", detail=detail)
    detail = f"{detail}; lacks {lost[0].what}"
    return Rung(
        what="log", reached="partly", detail=detail, reason=lost[0].reason, remedy=lost[0].remedy
    )


def _system(crash: Crash) -> Rung:
    try:
        banner = crash.banner
    except Unavailable as missing:
        return Rung(what="system", reached="no", detail=in_words(missing), reason=missing.reason)
    release = banner.release or crash.target.release
    found = {
        "release": release and f"Linux {release}",
        "uptime_s": None if banner.uptime_s is None else f"up {int(banner.uptime_s)} s",
        "nodename": banner.nodename and f"node {banner.nodename}",
        "cpus": banner.cpus and f"{banner.cpus} CPUs",
    }
    words = [words for words in found.values() if words]
    lacking = [key for key, words in found.items() if not words]
    if not lacking:
        return Rung(what="system", reached="yes", detail=", ".join(words))
    names = ", ".join(key.removesuffix("_s") for key in lacking)
    return Rung(
        what="system",
        reached="partly" if words else "no",
        detail=", ".join([*words, f"not known: {names}"]),
        reason=next((banner.absent[key] for key in lacking if key in banner.absent), None),
        remedy="" if crash.types in _TYPED else _same(crash),
    )


def _stacks(crash: Crash) -> Rung:
    stack = crash.crashed_stack
    frames = [frame for frame in stack.frames if not frame.inlined]
    if not frames:
        return _printed(crash, stack.reason, stack.end)
    detail = f"{len(frames)} frames of the crashed thread"
    if stack.reason is None and not stack.damage:
        return Rung(what="stacks", reached="yes", detail=detail)
    return Rung(
        what="stacks",
        reached="partly",
        detail=f"{detail}; then: {stack.damage or stack.end}",
        reason=stack.reason or Reason.CORRUPTED,
        remedy=_WHOLE if stack.reason is Reason.NOT_IN_DUMP else "",
    )


def _printed(crash: Crash, reason: Reason | None, why: str) -> Rung:
    trace = crash.oops.trace if crash.oops is not None else ()
    if reason is Reason.NO_DEBUGINFO and crash.types not in _TYPED:
        why = "no stack can be walked without names and types"
    instead = f"; {len(trace)} frames as the kernel printed them instead" if trace else ""
    return Rung(
        what="stacks",
        reached="no",
        detail=f"{in_brief(why)}{instead}",
        reason=reason or Reason.NOT_IN_DUMP,
        remedy=_same(crash),
    )


def _types(crash: Crash) -> Rung:
    if crash.types in _TYPED:
        return Rung(what="types", reached="yes", detail=_TYPED[crash.types])
    if crash.target.format == "text":
        return Rung(
            what="types",
            reached="no",
            detail="there is no dump, only text",
            reason=Reason.NOT_APPLICABLE,
            remedy="the dump",
        )
    named = crash.types == "symbols"
    said = [w for w in crash.warnings if w not in crash.target.warnings]
    why = "; ".join(map(in_brief, dict.fromkeys(said))) or "neither BTF nor DWARF"
    return Rung(
        what="types",
        reached="partly" if named else "no",
        detail=f"names, and no types: {why}" if named else f"neither names nor types: {why}",
        reason=Reason.NO_DEBUGINFO,
        remedy=_dump(crash),
    )


def _same(crash: Crash) -> str:
    # For a rung that waits for the last one; that one says where they are to be had.
    cut = crash.target.truncated or crash.target.missing_bytes
    if cut or crash.types in _TYPED:
        return _dump(crash)
    return "the dump" if crash.target.format == "text" else "names and types"


def _dump(crash: Crash) -> str:
    # What is lost to a cut dump went with its pages: debug info would not bring it back.
    target = crash.target
    if target.format == "text":
        return "the dump"
    if target.truncated or target.missing_bytes or crash.types in _TYPED:
        return _WHOLE
    from crashkit.symbols.where import offer  # of use for these alone

    known = offer(target.release, target.version or _version(crash), target.build_id)
    places = [known.command or "", *known.urls[:1]]
    named = " or ".join(place for place in places if place)
    return f"the vmlinux with debug info (-s){f': {named}' if named else ''}"


def _version(crash: Crash) -> str | None:
    try:
        return crash.banner.version
    except Unavailable:
        return None


_RUNGS: tuple[Callable[[Crash], Rung], ...] = (_log, _system, _stacks, _types)
