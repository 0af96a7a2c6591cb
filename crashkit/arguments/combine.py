"""One argument from the ways that found it: agreement proves, disagreement is said."""

from __future__ import annotations

from crashkit.arguments.answer import Answer
from crashkit.arguments.parts import Argument
from crashkit.value import Certainty, Origin


def combine(name: str, ctype: str, size: int, ways: list[tuple[str, Answer]]) -> Argument:
    """Make an argument of at least one answer.

    :param size: bytes of the parameter
    :param ways: what each way of looking is called, and its answer; independent of
        each other
    """
    cut = (1 << 8 * size) - 1
    proved = [way for way in ways if way[1].proved]
    # What a compiler says it passes is never proved, but never weaker than a reload either:
    # it is held against whatever counts.
    counted = proved or ways
    said = [way for way in ways if way[1].origin is Origin.CALL_SITE]
    counted = [*counted, *(way for way in said if way not in counted)]
    first = counted[0][1]
    same = [answer for _, answer in counted if (answer.value ^ first.value) & cut == 0]
    conflict = None
    if len(same) < len(counted):
        conflict = "; ".join(f"{way}: {a.value & cut:#x} ({a.how})" for way, a in counted)
    certain = bool(proved) and conflict is None
    return Argument(
        name=name,
        ctype=ctype,
        value=first.value & cut,
        origin=first.origin,
        certainty=Certainty.PROVED if certain else Certainty.INFERRED,
        corroborated_by=tuple(answer.origin for answer in same[1:]),
        how=first.how,
        conflict=conflict,
    )
