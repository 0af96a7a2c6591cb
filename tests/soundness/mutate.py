"""Drops one soundness rule after another and sees which tests turn red.

``python -m tests.soundness.mutate`` works on copies, prints a line for each mutant and
writes the table in ``docs/soundness.md``; with names of mutants as arguments, their rows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.soundness.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
_TABLE = ROOT / "docs" / "soundness.md"
_DATAFLOW = (
    "tests/soundness/test_rules.py", "tests/soundness/test_functions.py",
    "tests/unit/test_dataflow.py", "tests/unit/test_disasm.py", "tests/unit/test_unwind*.py",
    "tests/unit/test_trampolines.py", "tests/unit/test_bugs.py", "tests/unit/test_probes.py",
    "tests/unit/test_init_text.py", "tests/unit/test_realigned.py",
)  # fmt: skip
_ARGUMENTS = ("tests/unit/test_arguments*.py", "tests/unit/test_pt_regs.py")
_LONG = ("tests/soundness/test_effects.py", "tests/soundness/test_programs.py")
_FOR_ARGUMENTS = (
    "crashkit/arguments/", "crashkit/crash/", "crashkit/dataflow/edges.py",
    "crashkit/dataflow/function.py", "crashkit/dataflow/prototype.py",
)  # fmt: skip
_SECONDS = 600
_MOST_NAMED = 2
_MARKER = "<!-- made by tests/soundness/mutate.py -->"


@dataclass(frozen=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    killers: tuple[str, ...]


def anchors(mutant: Mutant) -> int:
    """How often the text that a mutant replaces is in its file."""
    return (ROOT / mutant.path).read_text().count(mutant.before)


def dropped(mutant: Mutant, text: str) -> str:
    """A file's text without the mutant's rule.

    :raises ValueError: what the mutant replaces is not there, or there twice
    """
    found = text.count(mutant.before)
    if found != 1:
        raise ValueError(f"{mutant.name}: {found} times in {mutant.path}, not once")
    return text.replace(mutant.before, mutant.after)


def run_tests(mutant: Mutant | None, known_red: Iterable[str] = ()) -> tuple[str, ...]:
    """Run the tests on a copy with the mutant; returns the first that fail.

    Those nearest to the rule come first, and the others only if none of them fails.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in ("crashkit", "tests", "recipes", "pyproject.toml"):
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, copy / part, ignore=ignored)
            else:
                shutil.copy(source, copy / part)
        if mutant is None:
            return _red(copy, (*_DATAFLOW, *_ARGUMENTS, *_LONG), ())
        file = copy / mutant.path
        file.write_text(dropped(mutant, file.read_text()))
        steps = [_DATAFLOW, _ARGUMENTS, _LONG]
        if mutant.path.startswith(_FOR_ARGUMENTS):
            steps[:2] = [_ARGUMENTS, _DATAFLOW]
        red = (_red(copy, step, known_red, _MOST_NAMED) for step in steps)
        return next((failed for failed in red if failed), ())


def _red(
    copy: Path, patterns: Iterable[str], known_red: Iterable[str], most: int = 0
) -> tuple[str, ...]:
    tests = [str(p.relative_to(copy)) for test in patterns for p in sorted(copy.glob(test))]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider",
               f"--maxfail={most}", "-k", "not of_their_source", *tests]  # fmt: skip
    command += [f"--deselect={test}" for test in known_red]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False, env=environment,
            timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return (f"(not done after {_SECONDS} s)",)
    if done.returncode not in (0, 1):
        return (f"(pytest ends with {done.returncode})",)
    return tuple(
        re.findall(
            r"^(?:FAILED|ERROR) (tests/\S+?\.py(?:::.*?)?)(?: - .*)?$", done.stdout, re.MULTILINE
        )
    )


def main(names: list[str]) -> int:
    """Run the mutants; 1 if no test sees one, or one cannot be made."""
    strange = set(names) - {mutant.name for mutant in MUTANTS}
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    gone = [mutant.name for mutant in chosen if anchors(mutant) != 1]
    if strange or gone:
        for name in sorted(strange):
            sys.stdout.write(f"NO MUTANT {name}\n")
        for name in gone:
            sys.stdout.write(f"GONE      {name}: what it replaces is not there, or there twice\n")
        return 1
    red = run_tests(None)
    sys.stdout.write(f"red without any mutant: {', '.join(red) or 'none'}\n")
    results = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for result in pool.map(lambda m: Result(m, run_tests(m, red)), chosen):
            results.append(result)
            word = "killed" if result.killers else "SURVIVED"
            sys.stdout.write(f"{word:9} {result.mutant.name}\n")
            sys.stdout.flush()
            write_table(results)
    return int(any(not result.killers for result in results))


def write_table(results: list[Result]) -> None:
    """Write the table into the document, after its marker; rows of others stay."""
    head, _, table = _TABLE.read_text().partition(_MARKER)
    rows = {line.split(" | ")[0][2:]: line for line in table.splitlines() if "`" in line}
    for result in results:
        tests = "; ".join(f"`{short(test)}`" for test in result.killers[:_MOST_NAMED])
        file = result.mutant.path.removeprefix("crashkit/")
        rows[result.mutant.name] = f"| {result.mutant.name} | `{file}` | {tests or '**none**'} |"
    kept = [rows[mutant.name] for mutant in MUTANTS if mutant.name in rows]
    killed = sum("**none**" not in row for row in kept)
    lines = ["", "| rule dropped | in | red then |", "|---|---|---|", *kept, ""]
    lines.append(f"{killed} of {len(MUTANTS)} killed.")
    _TABLE.write_text(head + _MARKER + "\n" + "\n".join(lines) + "\n")


def short(test: str) -> str:
    """Name a test without its folder."""
    return test.replace("tests/soundness/", "").replace("tests/unit/", "").replace("|", "/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
