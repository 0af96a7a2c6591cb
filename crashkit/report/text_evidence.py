"""The EVIDENCE block: each check with its mark and the crash> command that shows it."""

from __future__ import annotations

from crashkit.errors import in_brief
from crashkit.report.columns import WIDTH, bare, flowed, with_commands, wrap
from crashkit.report.parts import Json

_MARKS = {True: "+", False: "-", None: "?"}
_HEADING = "EVIDENCE   + holds   - fails   ? not read   ~ inferred"


def evidence_block(finding: Json, verbose: int = 0) -> list[str]:
    """The checks of a finding: necessary ones numbered, the others in two lists."""
    lines = [_HEADING + "crash> command that shows it".rjust(WIDTH - len(_HEADING))]
    for number, check in enumerate(finding["checks"], 1):
        if check["role"] == "necessary":
            lines += _row(f"{number:2} {told(check)}", check, verbose)
    lines += _listed("supports", finding, "supporting", verbose)
    lines += _listed("ruled out", finding, "excluding", verbose)
    return lines


def _row(left: str, check: Json, verbose: int) -> list[str]:
    lines = with_commands(left, commands(check))
    return [*lines, *_values(check)] if verbose else lines


def _listed(label: str, finding: Json, role: str, verbose: int) -> list[str]:
    negate = role == "excluding"
    checks = [check for check in finding["checks"] if check["role"] == role]
    if not checks:
        return []
    if not verbose:
        return flowed(label, (told(check, negate=negate) for check in checks), 10)
    lines = [label]
    for check in checks:
        lines += _row(f"   {told(check, negate=negate)}", check, verbose)
    return lines


def told(check: Json, *, negate: bool = False) -> str:
    """Mark, statement, and what was seen.

    :param negate: an excluding check; ``+`` then says that the thing excluded is not so
    """
    holds = check["holds"]
    mark = _MARKS[not holds if negate and holds is not None else holds]
    inferred = any(value["certainty"] == "inferred" for value in check["values"])
    words = check["statement"] + ("~" if inferred else "")
    seen = in_brief(check["why_not"] or "") if holds is None else check["note"]
    return f"{mark} {words}" + (f": {seen}" if seen else "")


def commands(check: Json) -> list[str]:
    """The crash> commands of a check's values, each once."""
    found = [value["reread"]["crash"] for value in check["values"] if value["reread"]]
    return list(dict.fromkeys(command for command in found if command))


def _values(check: Json) -> list[str]:
    lines = wrap(check["why_not"], WIDTH, " " * 9, " " * 7) if check["why_not"] else []
    for value in check["values"]:
        shown = value["value"]
        text = bare(shown) if isinstance(shown, str) else str(shown)
        identity = f" ({value['identity']})" if value["identity"] else ""
        origins = ", ".join([value["origin"], *value["corroborated_by"]])
        lines += wrap(f"{value['name']} = {text}{identity}  [{origins}]", WIDTH, " " * 9, " " * 7)
        for prompt, key in (("crash>", "crash"), (">>>", "crashkit")):
            if value["reread"] and value["reread"][key]:
                lines += wrap(f"{prompt} {value['reread'][key]}", WIDTH, " " * 13, " " * 9)
    return lines


def history_block(finding: Json) -> list[str]:
    """What led to the states, always inferred."""
    lines: list[str] = []
    if finding["history"] and finding["verdict"] != "confirmed":
        lines.append("HISTORY ~  if it is this:")
    for entry in finding["history"]:
        lines += wrap(entry, WIDTH, " " * 11, " " * 11 if lines else "HISTORY ~  ")
    return lines
