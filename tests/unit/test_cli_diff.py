"""``crashkit diff``: what it takes, which vmlinux is of which dump, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from crashkit.cli import diff
from crashkit.cli.app import app
from crashkit.cli.options import Options
from crashkit.errors import SymbolsError
from crashkit.report.diff import diff_schema
from tests.unit.report_doubles import SEED_LOG

RUNNER = CliRunner()
diff.register()


def invoke(*words: object) -> Any:
    return RUNNER.invoke(app, ["diff", *map(str, words)])


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text(SEED_LOG)
    other.write_text(SEED_LOG.replace("nf_iterate+0x98/0xe0", "nf_hook_slow+0x98/0xe0"))
    return one, other


def test_two_logs(logs: tuple[Path, Path]) -> None:
    result = invoke(*logs, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    made = json.loads(result.stdout)
    jsonschema.validate(made, diff_schema())
    same = {fact["key"]: fact["same"] for fact in made["facts"]}
    assert (same["title"], same["taint"], same["stack_key"]) == (True, True, False)
    assert same["nodename"] is None


def test_one_file_twice_is_said(logs: tuple[Path, Path]) -> None:
    result = invoke(logs[0], logs[0])
    assert result.exit_code == 0
    assert "are the same file" in result.stderr
    assert invoke(logs[0], logs[0], "-q").stderr == ""


@pytest.mark.parametrize("place", [0, 1])
def test_the_one_that_is_not_there_is_named(logs: tuple[Path, Path], place: int) -> None:
    words = list(logs)
    words[place] = logs[0].parent / "gone"
    result = invoke(*words)
    assert result.exit_code == 3
    assert str(words[place]) in result.stderr
    assert result.stdout == ""


def test_an_input_is_not_overwritten(logs: tuple[Path, Path]) -> None:
    assert invoke(*logs, "-o", logs[1]).exit_code == 2
    assert logs[1].read_text().startswith("[92957")


def test_one_dump_alone_is_a_usage_error(logs: tuple[Path, Path]) -> None:
    assert invoke(logs[0]).exit_code == 2
    assert invoke(*logs, "--format", "html").exit_code == 2


def test_each_dump_takes_the_vmlinux_of_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, list[Path], str]] = []

    def open_crash(path: Path, options: Options) -> Any:
        files = list(options.symbols or [])
        tried.append((path.name, files, options.types))
        if files[0].name != f"vmlinux-{path.name}":
            raise SymbolsError("of another build")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("crashkit.cli.inputs.open_crash", open_crash)
    given = [Path("vmlinux-a"), Path("vmlinux-b"), Path("nf_nat.ko.debug")]
    for name in "ab":
        found = diff._of_this_build(Path(name), Options(symbols=given))
        assert found.symbols == [Path(f"vmlinux-{name}"), Path("nf_nat.ko.debug")]
        assert found.types == "auto"
    assert all(types == "dwarf" for _name, _files, types in tried)
    # None fits: opening it says so. One alone is not tried before.
    assert diff._of_this_build(Path("c"), Options(symbols=given)).symbols == given
    one = Options(symbols=given[:1])
    assert diff._of_this_build(Path("c"), one) is one
