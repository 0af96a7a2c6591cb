"""The ``panic`` object of a document: what the kernel said, where it ran, the stack's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.crash.panics import read_sections
from crashkit.errors import Reason
from crashkit.oops import Oops, plain_name, stack_key
from crashkit.report.parts import Json, Part, address, facts
from crashkit.report.printed_part import build_code, build_modules, build_problems

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.fault import Fault

_FIRST_PAGE = 4096
_NULL_TITLE = "BUG: unable to handle kernel NULL pointer dereference"
_PAGE_TITLE = "BUG: unable to handle kernel paging request"


def build_panic(crash: Crash) -> Json:
    """Build the ``panic`` object; the thread's facts win over the log's words."""
    oops, thread = crash.oops, crash.thread
    part = Part(thread.absent)
    kind, title = _kind_and_title(oops, crash.fault)
    part.put("kind", kind)
    part.put("title", title, Reason.NOT_IN_DUMP)
    part.put("message", oops.message if oops else None, Reason.NOT_IN_DUMP)
    part.put("cpu", _first(thread.cpu, oops and oops.cpu))
    part.put("pid", _first(thread.pid, oops and oops.pid))
    part.put("comm", _first(thread.comm, oops and oops.comm))
    part.put_address("task", thread.task)
    part.put("context", _first(thread.context, oops and oops.context))
    key, origin = _stack_key(crash, oops)
    part.put("stack_key", key, Reason.NOT_IN_DUMP)
    part.put("stack_key_from", origin, Reason.NOT_IN_DUMP)
    part.put("intentional", bool(oops and oops.intentional))
    part.put("facts", _facts(crash, oops, kind))
    part.put("earlier", [_earlier(report) for report in (oops.earlier if oops else ())])
    part.put("later", [_earlier(report) for report in (oops.later if oops else ())])
    _put_printed(part, oops, from_text=crash.target.format == "text")
    return part.done()


def _put_printed(part: Part, oops: Oops | None, *, from_text: bool) -> None:
    part.put("uid", oops.uid if oops else None, Reason.NOT_IN_DUMP)
    part.put("build", oops.build if oops else None, Reason.NOT_IN_DUMP)
    part.put("hardware", oops.hardware if oops else None, Reason.NOT_IN_DUMP)
    part.put("modules", build_modules(oops), Reason.NOT_IN_DUMP)
    part.put("last_unloaded", oops.last_unloaded if oops else None)
    part.put("problems", build_problems(oops))
    # A dump has the code itself.
    part.put("code", build_code(oops) if from_text else None)


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _kind_and_title(oops: Oops | None, fault: Fault | None) -> tuple[str, str | None]:
    if oops is not None:
        return oops.kind, oops.title
    if fault is None or fault.address is None:
        return "unknown", None
    # No log: the address alone says which of the two messages the kernel printed.
    null = fault.address < _FIRST_PAGE
    where = f" in {plain_name(fault.symbol)}" if fault.symbol else ""
    kind = "null-pointer-dereference" if null else "page-fault"
    return kind, (_NULL_TITLE if null else _PAGE_TITLE) + where


def _stack_key(crash: Crash, oops: Oops | None) -> tuple[str | None, str | None]:
    if oops is not None and (key := oops.stack_key):
        return key, "text"
    # As in a printed trace, the interrupted function itself is not part of it.
    frames = [frame for frame in crash.frames if not frame.inlined]
    faulting = next((n for n, frame in enumerate(frames) if frame.interrupted), -1)
    names = [frame.function for frame in frames[faulting + 1 :] if frame.function]
    key = stack_key(names)
    return key, "unwind" if key else None


def _facts(crash: Crash, oops: Oops | None, kind: str) -> Json:
    read = read_sections(crash, kind)
    known: Json = {key: facts(value) for key, value in read.found.items()}
    if read.missing:
        known |= dict.fromkeys(read.missing)
        known["absent"] = {key: why.reason.value for key, why in read.missing.items()}
    return known | _printed(oops) if oops is not None else known


def _printed(oops: Oops) -> Json:
    known: Json = {key: facts(value) for key, value in oops.facts.items()}
    if oops.panic:
        known["panic_reason"] = oops.panic
    if oops.fault_address is not None:
        known["fault_address"] = address(oops.fault_address)
    if oops.count is not None:
        known["oops_count"] = oops.count
    return known


def _earlier(report: Oops) -> Json:
    part = Part()
    part.put("kind", report.kind)
    part.put("title", report.title)
    part.put("message", report.message)
    part.put("time_s", report.time, Reason.NOT_IN_DUMP)
    return part.done()
