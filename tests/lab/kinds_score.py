"""What triage says of the lab's crashes of every kind, against what they were made to be.

``python -m tests.lab.kinds_score FOLDER`` prints a table; FOLDER holds ``kind-NAME-KERNEL``. For
DWARF, a dump's folder may have ``debug``, laid out like ``/usr/lib/debug``, with its ``kinds.ko``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crashkit

KERNELS = ("6.1", "6.12")
EXPECTED = Path(__file__).parents[2] / "samples/lab/kinds/expected.toml"
FACT = re.compile(r"kinds: (.*)")
PAIR = re.compile(r"(\w+)=(\S+)")
FAULTED = re.compile(r"(?:address: |page fault for address: )([0-9a-f]{16})$", re.MULTILINE)
COLUMNS = ("kind", "function", "access", "address", "expression", "bad", "diagnosis")
EVERY = (*COLUMNS, "bad_is", "blamed", "comm", "facts", "says")

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One thing that was asked of a report."""

    aspect: str
    """One of ``EVERY``."""
    wanted: str
    got: str | None
    state: str
    """``right``, ``shallow`` (right, but less than could be said), ``missing`` or ``wrong``."""


def load_expected(path: Path = EXPECTED) -> dict[str, dict[str, Any]]:
    """Read the table of kinds."""
    with path.open("rb") as file:
        return tomllib.load(file)


def expected_of(table: Mapping[str, Json], name: str, kernel: str) -> dict[str, Any]:
    """What is expected of one kind on one kernel."""
    rows = dict(table[name])
    own = {key: rows.pop(key) for key in [*rows] if key[0].isdigit()}
    return rows | dict(own.get(kernel, {}))


def console_facts(console: str) -> dict[str, str]:
    """Read the guest's ``kinds: key=value`` lines; the last of a key counts."""
    lines = (found[1] for found in FACT.finditer(console))
    return {key: value for line in lines for key, value in PAIR.findall(line)}


def number(text: str) -> int | None:
    """A number as the guest prints it: a pointer, or decimal."""
    if re.fullmatch(r"[0-9a-f]{16}", text):
        return int(text, 16)
    return int(text) if text.isdigit() else None


def answers(expected: Json, document: Json, text: str, console: str) -> Iterator[Answer]:
    """Compare one report with what is expected of it."""
    fault: Json = document.get("fault") or {}
    panic: Json = document["panic"]
    got = {
        "kind": panic["kind"],
        "function": fault.get("symbol"),
        "access": fault.get("access"),
        "expression": fault.get("expression"),
        "bad": fault.get("null_or_bad"),
        "diagnosis": (fault.get("diagnosis") or {}).get("kind"),
    }
    for aspect, value in got.items():
        if aspect in expected:
            yield _compare(aspect, expected[aspect], value)
    found = FAULTED.search(console)
    if found and "access" in expected:
        yield _compare("address", hex(int(found[1], 16)), fault.get("address"))
    yield from _more(expected, document, text, console_facts(console))


def _more(expected: Json, document: Json, text: str, truth: Json) -> Iterator[Answer]:
    fault, panic = document.get("fault") or {}, document["panic"]
    if "bad_is" in expected:
        yield _compare("bad_is", hex(number(truth[expected["bad_is"]]) or 0), _bad_value(fault))
    if "blamed" in expected:
        yield _compare("blamed", expected["blamed"], _blamed(panic["title"]))
    comm = expected.get("comm", "orders")
    if comm:
        got = panic["comm"]
        yield _compare("comm", comm, comm if got and got.startswith(comm) else got)
    known = set(_numbers(panic["facts"]))
    for key in expected.get("facts", ()):
        holds = number(truth[key]) in known
        yield Answer(aspect="facts", wanted=f"{key}={truth[key]}", got=None,
                     state="right" if holds else "missing")  # fmt: skip
    for pattern in expected.get("says", ()):
        holds = re.search(pattern, text) is not None
        yield Answer(aspect="says", wanted=pattern, got=None,
                     state="right" if holds else "missing")  # fmt: skip


def _compare(aspect: str, wanted: str | Sequence[str], got: str | None) -> Answer:
    words = [wanted] if isinstance(wanted, str) else list(wanted)
    said = None if got is None else re.sub(r"\s", "", got)
    if said is None:
        state = "missing"
    elif said in words:
        state = "right"
    else:
        state = "shallow" if "?" + said in words else "wrong"
    return Answer(aspect=aspect, wanted=words[0], got=got, state=state)


def _bad_value(fault: Json) -> str | None:
    bad = fault.get("null_or_bad")
    values = [link["value"] for link in fault.get("chain", ()) if link["expression"] == bad]
    return values[-1] if values and bad else None


def _blamed(title: str) -> str | None:
    found = re.search(r" in (?:corrupted in: )?(\S+)$", title)
    return found[1].split(".")[0] if found else None


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int):
        yield value
    elif isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]{1,16}", value):
        yield int(value, 16)


def score(
    folder: Path, expected: Json, types: str, directories: Sequence[Path] = ()
) -> list[Answer]:
    """Triage one dump and compare.

    :param directories: for DWARF: where the kernel's and the module's debug files are
    """
    console = (folder / "console.txt").read_text(errors="replace")
    wanted = directories if types == "dwarf" else None
    with crashkit.open(folder / "vmcore", types=types, debug_directory=wanted) as crash:
        report = crashkit.triage(crash)
        return list(answers(expected, report.document, report.text(2), console))


def _table(rows: Mapping[str, Sequence[Answer]]) -> Iterator[str]:
    signs = {"right": "+", "shallow": "~", "missing": "-", "wrong": "WRONG"}
    yield f"{'':24}" + "".join(f"{name:11}" for name in COLUMNS) + "others"
    for name, found in rows.items():
        states = {answer.aspect: signs[answer.state] for answer in found}
        others = [a for a in found if a.aspect not in COLUMNS and a.state != "right"]
        rest = ", ".join(f"{a.aspect} {signs[a.state]} {a.wanted}" for a in others)
        yield f"{name:24}" + "".join(f"{states.get(c, ''):11}" for c in COLUMNS) + rest


def _totals(rows: Mapping[str, Sequence[Answer]]) -> Iterator[str]:
    counts: dict[str, Counter[str]] = {aspect: Counter() for aspect in EVERY}
    for answer in (answer for found in rows.values() for answer in found):
        counts[answer.aspect][answer.state] += 1
    for aspect, states in counts.items():
        total = sum(states.values())
        if total:
            right = states["right"] + states["shallow"]
            yield (
                f"{aspect:12}{right:4} of {total:<4} {100 * right / total:5.1f} %"
                f"  (shallow {states['shallow']}), missing {states['missing']},"
                f" wrong {states['wrong']}"
            )


def _misses(rows: Mapping[str, Sequence[Answer]]) -> Iterator[str]:
    for name, found in rows.items():
        for answer in found:
            if answer.state in ("wrong", "missing"):
                said = "" if answer.got is None else f", not {answer.got}"
                yield f"{name}: {answer.aspect} {answer.state}: {answer.wanted}{said}"


def _score_all(arguments: argparse.Namespace, types: str) -> dict[str, list[Answer]]:
    table = load_expected()
    rows: dict[str, list[Answer]] = {}
    for name in table:
        for kernel in KERNELS:
            folder = arguments.folder / f"kind-{name}-{kernel}"
            if not (folder / "vmcore").is_file() or not re.search(arguments.only, folder.name):
                continue
            expected = expected_of(table, name, kernel)
            directories = [
                folder / "debug",
                *(Path(str(path).replace("KERNEL", kernel)) for path in arguments.debug_directory),
            ]
            rows[f"{name} {kernel}"] = score(folder, expected, types, directories)
    return rows


def main() -> int:
    """Print the table of every dump there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--types", default="btf", help="btf, dwarf or both with a comma")
    parser.add_argument("--only", default="", help="regular expression of folder names")
    parser.add_argument(
        "--debug-directory",
        type=Path,
        action="append",
        default=[],
        help="for DWARF, with KERNEL in place of 6.1; may be repeated",
    )
    arguments = parser.parse_args()
    for types in arguments.types.split(","):
        rows = _score_all(arguments, types)
        sys.stdout.write(f"== {types}: {len(rows)} dumps\n")
        for part in (_table, _totals, _misses):
            sys.stdout.write("\n".join(part(rows)) + "\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
