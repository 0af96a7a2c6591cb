"""Below a frame: how each argument was found, and why the others were not."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json


def proof_lines(frame: Json, indent: int, *, together: bool) -> list[str]:
    """Write the proofs of a frame's arguments, then the reasons of those that are missing.

    :param indent: columns in front of a line; a wrapped one gets two more
    :param together: parameters that are missing for the same reason share a line
    """
    lines: list[str] = []
    for text in (*_proofs(frame), *_reasons(frame, together=together)):
        lines += wrap(text, WIDTH, " " * (indent + 2), " " * indent)
    return lines


def _proofs(frame: Json) -> Iterator[str]:
    for argument in frame["arguments"]:
        origins = ", ".join([argument["origin"], *argument["corroborated_by"]])
        yield f"{argument['name']}: {argument['how']}  [{origins}]"


def _reasons(frame: Json, *, together: bool) -> Iterator[str]:
    lost: dict[tuple[str, str], list[str]] = {}
    for missing in frame["missing"]:
        alone = "" if together else missing["name"]
        lost.setdefault((missing["reason"], alone), []).append(missing["name"])
    for (reason, _alone), names in lost.items():
        yield f"{', '.join(names)}: {reason}"
