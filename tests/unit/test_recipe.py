"""Running recipes: every way one can go wrong is shown, none stops the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crashkit.errors import Reason, RecipeError, Unavailable, UsageError
from crashkit.finding import Verdict
from crashkit.recipe import (
    Recipe,
    find_source,
    load,
    load_recipes,
    loading,
    own_directory,
    read_source,
    read_sources,
    run_recipe,
)
from crashkit.target import Target
from tests.unit.report_doubles import FakeCrash, as_crash, empty

HEADER = '''"""Recognised by: nothing."""
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Fix, excluding, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Origin, Value

META = Meta(id="made-up", claim="it was made up",
            fix=Fix(upstream="123456789abc", title="do not", release="v9.9"))
VALUE = Value(name="x", value=1, origin=Origin.MEMORY)
def applies(crash): return True
def yes(): return seen(True, VALUE)
def no(): return seen(False, VALUE)
def lost(): raise Unavailable("x", Reason.NOT_IN_DUMP, "filtered")
def bug(): return {}["missing"]
'''
CHECKS = 'def checks(crash):\n    yield necessary("a", "a holds", yes)\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def into(text: str) -> Path:
        path = tmp_path / "made_up.py"
        path.write_text(text)
        return path

    return into


def loaded(path: Path) -> Recipe:
    return load(read_source(path, path.name))


def line_of(path: Path, words: str) -> int:
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def test_all_necessary_checks_hold(write: Write) -> None:
    finding = run_recipe(loaded(write(HEADER + CHECKS)), as_crash(empty()))
    assert finding is not None
    assert (finding.verdict, finding.error) == (Verdict.CONFIRMED, None)
    assert finding.fix is not None
    assert finding.fix.in_this_binary is None


def test_text_never_confirms(write: Write) -> None:
    crash = FakeCrash(target=Target(path="log", format="text"), types="none")
    finding = run_recipe(loaded(write(HEADER + CHECKS)), as_crash(crash))
    assert finding is not None
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "the vmcore of this crash" in finding.to_settle


def test_text_can_refute(write: Write) -> None:
    crash = FakeCrash(target=Target(path="log", format="text"), types="none")
    body = 'def checks(crash):\n    yield necessary("a", "a", no)\n'
    finding = run_recipe(loaded(write(HEADER + body)), as_crash(crash))
    assert finding is not None
    assert finding.verdict is Verdict.REFUTED


def test_no_finding_where_the_symptom_does_not_fit(write: Write) -> None:
    path = write(HEADER + CHECKS + "def applies(crash): return False\n")
    assert run_recipe(loaded(path), as_crash(empty())) is None


def test_not_knowing_whether_it_applies_is_no_finding_and_no_silence(write: Write) -> None:
    path = write(HEADER + CHECKS + "def applies(crash): return lost()\n")
    with pytest.raises(Unavailable, match="whether made-up applies") as caught:
        run_recipe(loaded(path), as_crash(empty()))
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_a_check_with_a_bug_leaves_the_others_standing(write: Write) -> None:
    body = """def checks(crash):
    yield necessary("a", "a", yes)
    yield necessary("b", "b", bug)
    yield necessary("c", "c", yes)
"""
    path = write(HEADER + body)
    finding = run_recipe(loaded(path), as_crash(empty()))
    assert finding is not None
    assert [check.holds for check in finding.checks] == [True, None, True]
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.error == f"made_up.py:{line_of(path, 'def bug')}: KeyError: 'missing'"


def test_a_generator_that_raises_keeps_the_checks_so_far(write: Write) -> None:
    body = """def checks(crash):
    yield necessary("a", "a", yes)
    raise RuntimeError("half way")
"""
    path = write(HEADER + body)
    finding = run_recipe(loaded(path), as_crash(empty()))
    assert finding is not None
    assert [check.id for check in finding.checks] == ["a"]
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.error == f"made_up.py:{line_of(path, 'half way')}: RuntimeError: half way"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def applies(crash): return bug()\n" + CHECKS, "KeyError"),
        ("def checks(crash):\n    return 7\n", "TypeError"),
        ("def checks(crash):\n    yield 7\n", "int, not a check"),
        ('def checks(crash):\n    while True: yield necessary("a", "a", yes)\n', "more than"),
        (CHECKS + "def fix(crash): return bug()\n", "KeyError"),
        (CHECKS + "def history(crash): return bug()\n", "KeyError"),
        (("def checks(crash):\n    yield necessary('a', 'a', lost)\n"
         "def to_settle(crash, checks): return bug()\n"), "KeyError"),
    ],
)  # fmt: skip
def test_a_recipes_bug_is_shown_and_never_confirms(write: Write, body: str, words: str) -> None:
    finding = run_recipe(loaded(write(HEADER + body)), as_crash(empty()))
    assert finding is not None
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.error is not None
    assert finding.error.startswith("made_up.py:")
    assert words in finding.error


def test_what_is_not_read_is_what_would_settle_it(write: Write) -> None:
    body = """def checks(crash):
    yield necessary("a", "a", yes)
    yield necessary("b", "b", lost)
    yield supporting("c", "c", lost)
"""
    finding = run_recipe(loaded(write(HEADER + body)), as_crash(empty()))
    assert finding is not None
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.to_settle == ("x: not-in-dump (b)",)


def test_the_fix_says_what_was_seen_or_why_nothing_was(write: Write) -> None:
    seen = "def fix(crash):\n    import dataclasses\n"
    seen += "    return dataclasses.replace(META.fix, in_this_binary=False, how_seen='no reload')\n"
    finding = run_recipe(loaded(write(HEADER + CHECKS + seen)), as_crash(empty()))
    assert finding is not None
    assert finding.fix is not None
    assert (finding.fix.in_this_binary, finding.fix.how_seen) == (False, "no reload")
    path = write(HEADER + CHECKS + "def fix(crash): return lost()\n")
    finding = run_recipe(loaded(path), as_crash(empty()))
    assert finding is not None
    assert finding.fix is not None
    assert finding.fix.in_this_binary is None
    assert "not-in-dump" in (finding.fix.how_seen or "")
    assert finding.verdict is Verdict.CONFIRMED


BROKEN = {
    "syntax": (HEADER + "def checks(crash:\n", r"made_up\.py:\d+: "),
    "no docstring": ("META = 1\n", "no docstring"),
    "no META": ('"""Doc."""\n', "no META"),
    "META is no Meta": ('"""Doc."""\nMETA = 1\n', "not a Meta"),
    "an expression": ('"""D."""\nMETA = Meta(id=str(1), claim="c")\n', r"py:2: META may call only"),
    "arithmetic": ('"""D."""\nMETA = Meta(id="a" + b, claim="c")\n', "only literals"),
    "part lacks": ('"""Doc."""\nMETA = Meta(id="a")\n', "lacks 'claim'"),
    "part unknown": ('"""D."""\nMETA = Meta(id="a", claim="c", wrong=1)\n', "no part 'wrong'"),
    "part mistyped": ('"""D."""\nMETA = Meta(id="a", claim=3)\n', "claim must be str"),
    "no applies": ('"""D."""\nMETA = Meta(id="a", claim="c")\n', r"applies\(crash\)"),
    "null byte": ("\0", r"py:1: "),
    "deep": ('"""D."""\nMETA = ' + "(" * 5000, r"made_up\.py"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_its_line(write: Write, name: str) -> None:
    text, pattern = BROKEN[name]
    with pytest.raises(RecipeError, match=pattern):
        read_source(write(text), "made_up.py")


def test_reading_meta_runs_nothing(write: Write, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = write(HEADER + CHECKS + f"open({str(proof)!r}, 'w').close()\n")
    assert read_source(path, path.name).meta.claim == "it was made up"
    assert not proof.exists()
    loaded(path)
    assert proof.exists()


def test_a_file_that_raises_when_run_is_named_with_its_line(write: Write) -> None:
    path = write(HEADER + CHECKS + "\n\nimport nothing_of_this_name\n")
    with pytest.raises(RecipeError, match=rf"made_up\.py:{line_of(path, 'nothing_of')}: Module"):
        loaded(path)


def test_one_broken_recipe_leaves_the_others(write: Write, tmp_path: Path) -> None:
    write(HEADER + CHECKS)
    (tmp_path / "broken.py").write_text('"""D."""\ndef applies(\n')
    (tmp_path / "_private.py").write_text("1 +")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.py").write_text("1 +")
    recipes = load_recipes([tmp_path])
    assert recipes.find("made-up") is not None
    assert [str(error).partition(":")[0] for error in recipes.errors] == ["recipe broken.py"]


def test_two_recipes_of_one_id(write: Write, tmp_path: Path) -> None:
    write(HEADER + CHECKS)
    (tmp_path / "zz.py").write_text(HEADER + CHECKS)
    sources, errors = read_sources([tmp_path])
    assert [source.name for source in sources] == ["made_up.py"]
    assert "id made-up is that of made_up.py" in str(errors[0])


def test_find_source(write: Write, tmp_path: Path) -> None:
    write(HEADER + CHECKS)
    assert find_source("made-up", [tmp_path]).name == "made_up.py"
    with pytest.raises(UsageError, match="did you mean made-up"):
        find_source("made-upp", [tmp_path])
    (tmp_path / "other_one.py").write_text("1 +")
    with pytest.raises(RecipeError, match=r"other_one\.py:1"):
        find_source("other-one", [tmp_path])


def test_own_recipes_load() -> None:
    directory = own_directory()
    assert directory is not None
    recipes = load_recipes()
    assert recipes.errors == ()
    assert recipes.find("nf-conntrack-clash-stale-ct") is not None


def test_own_recipes_need_no_parsing() -> None:
    # To parse one takes longer than to run it.
    directory = own_directory()
    assert directory is not None
    for path in directory.rglob("*.py"):
        assert loading._known_good(path, path.name) is not None, path.name


@pytest.mark.parametrize(
    ("written", "classes", "advice"),
    [
        ("", ("one", "two"), "from META"),
        ("def classes(crash, made): return ('two',)", ("two",), "from META"),
        ("def advice(crash, made): return ('do a', 'do b')", ("one", "two"), "do a; do b"),
        ("def advice(crash, made): return ()", ("one", "two"), "from META"),
        ("def classes(crash, made): raise Unavailable('x', Reason.BUDGET)", (), "from META"),
    ],
)
def test_classes_and_advice_may_be_told_of_this_crash(
    write: Write, written: str, classes: tuple[str, ...], advice: str
) -> None:
    meta = 'META = Meta(id="made-up", claim="x", classes=("one", "two"), advice="from META")\n'
    head = HEADER.replace(HEADER[HEADER.index("META = ") : HEADER.index("VALUE = ")], meta)
    found = run_recipe(loaded(write(f"{head}{CHECKS}{written}\n")), as_crash(empty()))
    assert found is not None
    assert found.error is None
    assert found.verdict is Verdict.CONFIRMED
    assert (found.classes, found.advice) == (classes, advice)


def test_refuted_crash_is_of_no_class(write: Write) -> None:
    meta = 'META = Meta(id="made-up", claim="x", classes=("one", "two"))\n'
    head = HEADER.replace(HEADER[HEADER.index("META = ") : HEADER.index("VALUE = ")], meta)
    refuting = 'def checks(crash):\n    yield necessary("a", "a holds", no)\n'
    found = run_recipe(loaded(write(head + refuting)), as_crash(empty()))
    assert found is not None
    assert (found.verdict, found.classes) == (Verdict.REFUTED, ())


@pytest.mark.parametrize(("group", "found"), [("crashkit.recipes", True), ("other.recipes", False)])
def test_recipes_of_an_installed_package(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, found: bool
) -> None:
    site = tmp_path / "site"
    (site / "own_recipes").mkdir(parents=True)
    (site / "own_recipes" / "__init__.py").write_text("raise SystemExit('it was imported')\n")
    write(HEADER + CHECKS).rename(site / "own_recipes" / "made_up.py")
    (site / "own-1.0.dist-info").mkdir()
    (site / "own-1.0.dist-info" / "METADATA").write_text("Name: own\nVersion: 1.0\n")
    points = site / "own-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[{group}]\nown = own_recipes\n")
    monkeypatch.syspath_prepend(str(site))
    assert (load_recipes().find("made-up") is not None) is found
