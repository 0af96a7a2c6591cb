"""``recipes lint`` and ``recipes new``: each rule broken once, and everything shipped is clean."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crashkit.cli import recipes as recipes_command
from crashkit.cli.app import app, recipes_app
from crashkit.finding import Verdict
from crashkit.recipe import load, own_directory, run_recipe
from crashkit.recipe.linting import lint_all, lint_file
from crashkit.recipe.meta import read_source
from crashkit.recipe.skeleton import write_skeleton
from tests.unit.report_doubles import as_crash, seed

RUNNER = CliRunner()

CLEAN = '''"""Recognised by: nothing."""
from __future__ import annotations
import re
from collections.abc import Iterator
from dataclasses import dataclass
from drgn import Object
from crashkit.crash import Crash
from crashkit.finding import CheckSpec, necessary, seen
from crashkit.memory import read_u64
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value
META = Meta(
    id="made-up", claim="it was made up", references=("0123456789ab a title",),
    matches=("a-sample",), rejects=("a-lookalike",),
)
_WORD = re.compile("x")
@dataclass(frozen=True)
class Row:
    name: str
    """Its name."""
def _row(name: str) -> Row:
    return Row(name)
ROWS = (Row("a"), _row("b"))
def applies(crash: Crash) -> bool:
    return True
def checks(crash: Crash) -> Iterator[CheckSpec]:
    yield necessary("a", "it is so", lambda: _look(crash))
def _look(crash: Crash):
    value = Value(name="x", value=1, origin=Origin.MEMORY, reread=Reread(crash="rd 1"))
    said = Value(name="x", value=1, origin=Origin.TEXT)
    return seen(True, value, said)
'''

BROKEN = [
    ('"""Recognised by: nothing."""', "x = 1", "no docstring"),
    ('id="made-up"', 'id="MadeUp"', "is not words of a-z"),
    ('id="made-up"', 'id="other-name"', "is to be called other_name.py"),
    ('claim="it was made up", ', "", "lacks 'claim'"),
    ('references=("0123456789ab a title",),', "", "no references"),
    ("0123456789ab a title", "0123abc a title", "commit 0123abc is too short"),
    ('matches=("a-sample",), ', "", "no matches"),
    ('rejects=("a-lookalike",),', "", "no look-alike"),
    ("a-lookalike", "a-sample", "is in matches and in rejects"),
    ('matches=("a-sample",)', ('matches=("a-sample",), fix=Fix(upstream="12345", title="t",'
     ' release="v6.1")'), "is no commit of 12"),
    ('matches=("a-sample",)', ('matches=("a-sample",), fix=Fix(upstream="0123456789ab", title="t",'
     ' release="6.1")'), "is not like v6.1"),
    ('matches=("a-sample",)', ('matches=("a-sample",), fix=Fix(upstream="0123456789ab", title="t",'
     ' release="v6.1", stable=("6.0",))'), "is not like 6.1.57"),
    ('matches=("a-sample",)', ('matches=("a-sample",), fix=Fix(upstream="0123456789ab", title="t",'
     ' release="v6.1", in_this_binary=True)'), "META cannot know"),
    ("import re\n", "import re, os\n", "os is not of crashkit"),
    ("import re\n", "import re\nfrom crashkit.report import render_text\n", "stands above"),
    ("import re\n", "import re\nfrom crashkit import cli\n", "crashkit.cli stands above"),
    ("import re\n", "import re\nfrom .other import x\n", "relative import"),
    ("import re\n", "import re\nfrom math import *\n", "import *"),
    ('re.compile("x")', 'open("/etc/passwd")', "open() is called at import"),
    ("    return Row(name)", "    return Row(_elsewhere(name))", "_row() is called at import"),
    ("ROWS =", "for _n in (1, 2): pass\nROWS =", "done at import"),
    ("@dataclass(frozen=True)", "@_WORD.match", "is run at import"),
    ("def applies(crash: Crash)", "def fits(crash: Crash)", "no function applies"),
    ("def applies(crash: Crash)", "def applies(crash: Crash, more: int)", "applies(crash)"),
    ("necessary(", "supporting(", "no necessary check"),
    ('"it is so", ', "", "takes an id, a statement"),
    ('"it is so"', '""', "has no statement"),
    ('necessary("a"', 'necessary("A b"', "check id 'A b'"),
    ("    yield necessary(", ('    yield necessary("a", "it was", lambda: _look(crash))\n'
     "    yield necessary("), "check id a is also that of line"),
    (', reread=Reread(crash="rd 1")', "", "without reread"),
    ("    return seen(", "    print(1)\n    return seen(", "prints nothing"),
    ("    return seen(", ("    try:\n        pass\n    except Exception:\n        pass\n"
     "    return seen("), "catches everything"),
    ("import CheckSpec,", "import CheckSpec, Verdict,", "states no verdict"),
    ("return True", 'return crash.target.release > "x"', "no version"),
    ("return True", "return crash.banner.version is None", "no version"),
    ("return True", 'return crash.oops.text == "5.10"', "compares with kernel version"),
    ("    return seen(", "    crash.prog.read(crash.x + 8, 4)\n    return seen(",
     "offset that was written down"),
    ("    return seen(", "    read_u64(crash.prog, 16 + crash.x)\n    return seen(",
     "offset that was written down"),
    ("    return seen(", '    Object(crash.prog, "int *", crash.x - 8)\n    return seen(',
     "offset that was written down"),
    ("yield", "yield yield", "correct the file"),
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    if not any(one.name == "lint" for one in recipes_app.registered_commands):
        recipes_command.register()


def invoke(*words: object) -> Any:
    return RUNNER.invoke(app, ["recipes", *map(str, words)])


def lint(folder: Path, text: str) -> list[str]:
    path = folder / "made_up.py"
    path.write_text(text)
    return [str(flaw) for flaw in lint_file(path)]


def test_a_clean_recipe(tmp_path: Path) -> None:
    assert lint(tmp_path, CLEAN) == []


@pytest.mark.parametrize(("old", "new", "says"), BROKEN, ids=[row[2] for row in BROKEN])
def test_each_rule(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in CLEAN
    text = CLEAN.replace(old, new, 1)
    flaws = lint(tmp_path, text)
    assert any(says in flaw for flaw in flaws), flaws
    line = int(flaws[0].removeprefix(str(tmp_path / "made_up.py")).split(":")[1])
    assert 1 <= line <= text.count("\n") + 1


def test_two_branches_may_have_one_check(tmp_path: Path) -> None:
    branches = (
        "    if crash.x:\n        yield necessary('a', 'it was so', lambda: _look(crash))\n"
        "    else:\n        yield necessary('a', 'it is so', lambda: _look(crash))\n"
    )
    old = '    yield necessary("a", "it is so", lambda: _look(crash))\n'
    assert lint(tmp_path, CLEAN.replace(old, branches)) == []


def test_every_shipped_recipe_is_clean() -> None:
    own = own_directory()
    assert own is not None
    count, flaws = lint_all([str(own)])
    assert [str(flaw) for flaw in flaws] == []
    assert count >= 30


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(CLEAN)
    clean = invoke("lint", tmp_path)
    assert (clean.exit_code, clean.stdout) == (0, "1 recipe: clean\n")
    (tmp_path / "made_up.py").write_text(CLEAN.replace("import re\n", "import re\nimport os\n"))
    for words in ((tmp_path,), (tmp_path / "made_up.py",), ("made-up", "--recipes", tmp_path)):
        found = invoke("lint", *words)
        assert found.exit_code == 1
        assert found.stdout.startswith(f"{tmp_path / 'made_up.py'}:4: os is not of crashkit")
    made = json.loads(invoke("lint", "--json", tmp_path).stdout)
    assert (made["schema"], made["files"], made["findings"][0]["line"]) == ("crashkit.lint/1", 1, 4)
    assert invoke("lint", tmp_path / "nothing.py").exit_code == 2
    assert invoke("lint", "no-such-recipe").exit_code == 2
    assert invoke("lint", "nf-conntrack-clash-stale-ct").exit_code == 0


def test_a_file_that_does_not_parse_is_found_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text("def broken(:\n")
    found = invoke("lint", "made-up", "--recipes", tmp_path)
    assert found.exit_code == 1
    assert "made_up.py:1: " in found.stdout


def test_two_recipes_of_one_id(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "made_up.py").write_text(CLEAN)
    found = invoke("lint", tmp_path)
    assert found.exit_code == 1
    assert "id made-up is that of" in found.stdout


def test_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(CLEAN + "raise SystemExit(3)\n")
    assert invoke("lint", tmp_path).exit_code == 1


def test_a_new_recipe_lints_clean_and_is_inconclusive(tmp_path: Path) -> None:
    made = invoke("new", "lost-wakeup", "--group", "locking", "-o", tmp_path)
    assert made.exit_code == 0, made.stderr
    path = tmp_path / "locking" / "lost_wakeup.py"
    assert str(path) in made.stdout
    assert lint_file(path) == []
    recipe = load(read_source(path, path.name))
    crash = seed()
    crash.faulting_function = "some_function"
    finding = run_recipe(recipe, as_crash(crash))
    assert finding is not None
    assert (finding.verdict, finding.error) == (Verdict.INCONCLUSIVE, None)
    assert [check.holds for check in finding.checks] == [True, None]
    again = invoke("new", "lost-wakeup", "--group", "locking", "-o", tmp_path)
    assert again.exit_code == 2
    assert "exists and is not replaced" in again.stderr


def test_its_test_passes(tmp_path: Path) -> None:
    made = write_skeleton("lost-wakeup", "locking", tmp_path)
    moved = made.test.with_name(made.test.name.removeprefix("_"))
    made.test.rename(moved)
    root = Path(importlib.util.find_spec("crashkit").origin or "").parent.parent  # type: ignore[union-attr]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(moved)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "words", [("Bad",), ("one",), ("a-b", "--group", "../x"), ("a-b", "-o", "/proc/nothing")]
)
def test_new_refuses(words: tuple[str, ...], tmp_path: Path) -> None:
    more = () if "-o" in words else ("-o", str(tmp_path))
    result = invoke("new", *words, *more)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
