"""The block that says where the crashed task ran: program, parents, cgroup, namespaces."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json

_PARENTS = 6
_ARGUMENTS = 16


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Tell it in two lines; kernel threads, whose setting is always the same, not at all."""
    if section["kernel_thread"] and not verbose:
        return []
    lines = [_program(section, verbose)]
    where = _where(section)
    if where:
        lines.append(where)
    return labelled("TASK", lines)


def _program(section: Json, verbose: int) -> str:
    argv = section["argv"]
    if argv:
        shown = argv if verbose else argv[:_ARGUMENTS]
        text = " ".join(shown) + (" ..." if len(shown) < len(argv) else "")
    else:
        text = section["executable"] or section["comm"]
        if not section["kernel_thread"]:
            why = (section.get("absent") or {}).get("argv", "unknown")
            text += f" (arguments: {why})"
    user = "" if section["uid"] in (0, None) else f", uid {section['uid']}"
    parents = section["parents"] or []
    chain = " < ".join(f"{p['comm']} ({p['pid']})" for p in parents[:_PARENTS])
    return f"{text}{user}{f', child of {chain}' if chain else ''}"


def _where(section: Json) -> str:
    words = []
    if section["cgroup"] not in (None, "/"):
        words.append(f"cgroup {section['cgroup']}")
    if section["container"]:
        words.append(f"{section['container']['engine']} container {section['container']['id']} ~")
    if section["namespaces"]:
        inside = f" (PID {section['pid_in_namespace']} there)" * bool(section["pid_in_namespace"])
        words.append(f"own {', '.join(section['namespaces'])} namespaces{inside}")
    if section.get("nodename"):
        words.append(f"its host name is {section['nodename']}")
    return "; ".join(words)
