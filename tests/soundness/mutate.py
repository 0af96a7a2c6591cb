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
_TESTS = (
    "tests/soundness/test_rules.py", "tests/soundness/test_functions.py",
    "tests/unit/test_dataflow.py",
    "tests/unit/test_disasm.py", "tests/unit/test_unwind.py", "tests/unit/test_arguments*.py",
    "tests/soundness/test_effects.py", "tests/soundness/test_programs.py",
)  # fmt: skip
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


def run_tests(mutant: Mutant | None, known_red: Iterable[str] = ()) -> tuple[str, ...]:
    """Run the tests on a copy with the mutant; returns the first that fail."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in ("crashkit", "tests", "recipes", "pyproject.toml"):
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, copy / part, ignore=ignored)
            else:
                shutil.copy(source, copy / part)
        if mutant is not None:
            file = copy / mutant.path
            file.write_text(file.read_text().replace(mutant.before, mutant.after, 1))
        tests = [str(path.relative_to(copy)) for test in _TESTS for path in copy.glob(test)]
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p",
                   "no:cacheprovider", "-k", "not of_their_source", *tests]  # fmt: skip
        if mutant is not None:
            command += [f"--maxfail={_MOST_NAMED}"]
        command += [f"--deselect={test}" for test in known_red]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode not in (0, 1):
            return (f"(pytest ends with {done.returncode})",)
        return tuple(re.findall(r"^(?:FAILED|ERROR) (tests/\S+?\.py(?:::.*?)?)(?: - .*)?$",
                                done.stdout, re.MULTILINE))  # fmt: skip


def main(names: list[str]) -> int:
    """Run the mutants; the number of those that no test sees."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    gone = [mutant.name for mutant in chosen if anchors(mutant) != 1]
    if gone:
        sys.stdout.write(f"text to replace is not there, or there twice: {', '.join(gone)}\n")
        return len(gone)
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
    return sum(not result.killers for result in results)


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
