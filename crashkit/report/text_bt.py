"""Stack traces as text, in the layout of crash's ``bt``; arguments below their frame."""

from __future__ import annotations

from crashkit.report.argument_text import arguments
from crashkit.report.columns import WIDTH, bare, wrap, wrap_groups
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json
from crashkit.report.printed_part import PRINTED_UNSURE
from crashkit.report.printed_rest import rest_lines
from crashkit.report.text_fault import place
from crashkit.report.text_proofs import proof_lines

_LAYOUT = (  # crash's bt: x86_64_display_full_frame()
    ("RIP", "rip", "RSP", "rsp", "RFLAGS", "rflags"),
    ("RAX", "rax", "RBX", "rbx", "RCX", "rcx"),
    ("RDX", "rdx", "RSI", "rsi", "RDI", "rdi"),
    ("RBP", "rbp", "R8", "r8", "R9", "r9"),
    ("R10", "r10", "R11", "r11", "R12", "r12"),
    ("R13", "r13", "R14", "r14", "R15", "r15"),
    ("ORIG_RAX", "orig_rax", "CS", "cs", "SS", "ss"),
)


_STACKS = {"nmi": "NMI exception", "exception": "exception", "irq": "IRQ", "softirq": "IRQ"}
_PIDS = 24
"""PIDs of a folded stack that are listed."""


def render_bt(document: Json, verbose: int = 0) -> str:
    """Render the document: each stack under the heading crash gives it."""
    document = safe_tree(document)
    lines: list[str] = []
    for number, stack in enumerate(document["stacks"]):
        lines += ([""] if number else []) + _stack(stack, verbose)
    lines += _printed(document)
    for entry in document["limits"]:
        lines.append(f"({entry['what']}: {entry['reason']})")
    return "\n".join(lines) + "\n"


def _stack(stack: Json, verbose: int) -> list[str]:
    lines = [_heading(stack["thread"])]
    if stack["cpu_online"] is False:
        lines.append("(this CPU was offline)")
    if stack["count"] > 1:
        lines += _members(stack)
    before = "unknown"
    for frame in stack["frames"]:
        lines += _frame(frame, before, verbose)
        before = frame["segment"]
    if not stack["frames"]:
        lines.append(f"(no stack trace: {stack['end']})")
    elif not stack["complete"]:
        lines.append(f"(the walk ends here: {stack['end']})")
    if stack["damage"]:
        lines.append(f"(corrupt, nothing on it is proved: {stack['damage']})")
    return lines


def _printed(document: Json) -> list[str]:
    frames = document["printed"]
    if not frames:
        return rest_lines(document)
    rows = []
    for frame in frames:
        unsure = "? " if frame["how"] == PRINTED_UNSURE else ""
        where = place(frame["function"], frame["offset"], frame["module"], None)
        rows.append(f"{'#' + str(frame['index']):>3} {unsure}{where}")
    return ["(as the kernel printed it; ? may be left over from earlier)", *rows]


def _members(stack: Json) -> list[str]:
    pids = ["?" if thread["pid"] is None else str(thread["pid"]) for thread in stack["threads"]]
    more = f" and {len(pids) - _PIDS} more" if len(pids) > _PIDS else ""
    text = f"{stack['count']} tasks: {' '.join(pids[:_PIDS])}{more}; arguments are the first's"
    return wrap(text, WIDTH, " " * 4)


def _heading(thread: Json) -> str:
    def known(key: str) -> str:
        return "?" if thread[key] is None else str(thread[key])

    return (
        f"PID: {known('pid'):<8} TASK: {bare(thread['task'])}  CPU: {known('cpu'):<3}"
        f'  COMMAND: "{known("comm")}"'
    )


def _frame(frame: Json, before: str, verbose: int) -> list[str]:
    name = frame["function"] or "(unknown)"
    module = f" [{frame['module']}]" if frame["module"] else ""
    offset = frame["offset"] or 0
    lines = []
    if frame["segment"] == "user":
        lines += register_rows(frame["registers"])
    elif frame["interrupted"]:
        lines += [
            f"    [exception RIP: {name}+{offset}]{module}",
            *register_rows(frame["registers"]),
        ]
    if frame["new_stack"]:
        lines.append(f"--- <{_STACKS.get(before, before)} stack> ---")
    if not frame["interrupted"] or frame["new_stack"]:
        slot = bare(frame["slot"] or frame["sp"])
        inlined = "  [inlined]" if frame["inlined"] else ""
        at = bare(frame["pc"])
        lines.append(f"{'#' + str(frame['index']):>3} [{slot}] {name} at {at}{module}{inlined}")
    if frame["source"]:
        lines.append(f"    {frame['source']}")
    shown = arguments(frame, lost=True, pointers=True, named=True)
    if shown:
        lines += wrap_groups([*shown[:-1], f"{shown[-1]})"], ",", " " * 10, f"      {name}(")
    lines += [f"        {a['name']}: {a['conflict']}" for a in frame["arguments"] if a["conflict"]]
    if verbose:
        lines += proof_lines(frame, 8, together=False)
    return lines + _words(frame["words"])


def _words(words: list[Json]) -> list[str]:
    # Two words to a row, as bt -f.
    rows = []
    for at in range(0, len(words), 2):
        pair = [
            f"{int(w['value'], 16):016x}" if w["value"] else "?" * 16 for w in words[at : at + 2]
        ]
        rows.append(f"    {int(words[at]['address'], 16):016x}: {' '.join(pair)}")
    return rows


def register_rows(values: Json) -> list[str]:
    """Lay registers out as crash does; those of other machines four to a line."""
    if values and not any(name in values for name in ("rax", "rip", "rsp")):
        return _other_registers(values)
    lines = []
    for row in _LAYOUT:
        cells = []
        for label, name in zip(row[::2], row[1::2], strict=True):
            width = 4 if name in ("cs", "ss") else 8 if name == "rflags" else 16
            value = values.get(name)
            shown = "?" * width if value is None else f"{int(value, 16):0{width}x}"
            cells.append(f"{' ' * (label in ('R8', 'R9'))}{label}: {shown}")
        lines.append("    " + "  ".join(cells))
    return lines


def _other_registers(values: Json) -> list[str]:
    wide = any(int(value, 16) >> 32 for value in values.values())
    digits, row = (16, 3) if wide else (8, 4)
    cells = [f"{name.upper():>9}: {int(value, 16):0{digits}x}" for name, value in values.items()]
    return ["".join(cells[start : start + row]) for start in range(0, len(cells), row)]
