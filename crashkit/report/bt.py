"""The stack trace by itself: document ``crashkit.bt/1`` and its text in crash's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.report.columns import bare
from crashkit.report.document import build_limits, envelope
from crashkit.report.escape import safe_tree
from crashkit.report.frames_part import build_frame, registers
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target
from crashkit.report.text_stack import arguments

if TYPE_CHECKING:
    from crashkit.crash import Crash

BT = "crashkit.bt/1"

_LAYOUT = (  # crash's bt: x86_64_display_full_frame()
    ("RIP", "rip", "RSP", "rsp", "RFLAGS", "rflags"),
    ("RAX", "rax", "RBX", "rbx", "RCX", "rcx"),
    ("RDX", "rdx", "RSI", "rsi", "RDI", "rdi"),
    ("RBP", "rbp", "R8", "r8", "R9", "r9"),
    ("R10", "r10", "R11", "r11", "R12", "r12"),
    ("R13", "r13", "R14", "r14", "R15", "r15"),
    ("ORIG_RAX", "orig_rax", "CS", "cs", "SS", "ss"),
)


def build_bt(crash: Crash) -> Json:
    """Build the document for the crashed thread."""
    thread = crash.thread
    who = Part(thread.absent)
    who.put("pid", thread.pid)
    who.put("comm", thread.comm)
    who.put_address("task", thread.task)
    who.put("cpu", thread.cpu)
    who.put("context", thread.context)
    frames = []
    for frame in crash.frames:
        entry = build_frame(crash, frame)
        entry["registers"] = registers(frame) if frame.interrupted else {}
        frames.append(entry)
    return {
        **envelope(BT),
        "target": build_target(crash),
        "thread": who.done(),
        "frames": frames,
        "limits": build_limits(crash.limits),
    }


def render_bt(document: Json, verbose: int = 0) -> str:
    """Render the document in the layout of crash's ``bt``; arguments below their frame."""
    document = safe_tree(document)
    lines = [_heading(document["thread"])]
    for frame in document["frames"]:
        lines += _frame(frame, verbose)
    if not document["frames"]:
        lines.append("(no stack trace)")
    for entry in document["limits"]:
        lines.append(f"({entry['what']}: {entry['reason']})")
    return "\n".join(lines) + "\n"


def _heading(thread: Json) -> str:
    def known(key: str) -> str:
        return "?" if thread[key] is None else str(thread[key])

    return (
        f"PID: {known('pid'):<8} TASK: {bare(thread['task'])}  CPU: {known('cpu'):<3}"
        f'  COMMAND: "{known("comm")}"'
    )


def _frame(frame: Json, verbose: int) -> list[str]:
    name = frame["function"] or "(unknown)"
    module = f" [{frame['module']}]" if frame["module"] else ""
    offset = frame["offset"] or 0
    if frame["interrupted"]:
        lines = [
            f"    [exception RIP: {name}+{offset}]{module}",
            *register_rows(frame["registers"]),
        ]
    else:
        slot = bare(frame["slot"] or frame["sp"])
        inlined = "  [inlined]" if frame["inlined"] else ""
        at = bare(frame["pc"])
        lines = [f"{'#' + str(frame['index']):>3} [{slot}] {name} at {at}{module}{inlined}"]
    if frame["source"]:
        lines.append(f"    {frame['source']}")
    shown = arguments(frame, lost=bool(verbose), pointers=False, named=bool(verbose))
    if shown:
        lines.append("      " + "  ".join(shown))
    if verbose:
        lines += [f"        {a['name']}: {a['how']}" for a in frame["arguments"]]
        lines += [f"        {m['name']}: {m['reason']}" for m in frame["missing"]]
    return lines


def register_rows(values: Json) -> list[str]:
    """Lay registers out as crash does."""
    lines = []
    for row in _LAYOUT:
        cells = []
        for label, name in zip(row[::2], row[1::2], strict=True):
            width = 4 if name in ("cs", "ss") else 8 if name == "rflags" else 16
            value = values.get(name)
            shown = "?" * width if value is None else f"{int(value, 16):0{width}x}"
            cells.append(f"{label}: {shown}")
        lines.append("    " + "  ".join(f"{cell:>21}" for cell in cells).rstrip())
    return lines
