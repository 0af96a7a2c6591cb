"""The command line: what it takes, where it writes, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crashkit.cli import code, conncount, conntrack, skb
from crashkit.cli import log as log_command
from crashkit.cli.app import app
from crashkit.cli.inputs import tell_apart
from crashkit.cli.paths import is_symbol_file
from crashkit.cli.stacks import cpu_list
from crashkit.errors import (
    CrashkitError,
    Reason,
    SymbolsError,
    TargetError,
    Unavailable,
    UsageError,
)
from tests.unit.report_doubles import EVIL, FakeCrash, empty, hostile, seed

RUNNER = CliRunner()

RECIPE = '''"""Recognised by: nothing."""
from crashkit.errors import Reason, Unavailable
from crashkit.finding import necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Origin, Value
META = Meta(id="made-up", claim="it was made up")
VALUE = Value(name="x", value=1, origin=Origin.MEMORY)
def lost(): raise Unavailable("x", Reason.NOT_IN_DUMP, "filtered")
def applies(crash): return {applies}
def checks(crash): yield necessary("a", "a", lambda: {check})
'''

Invoke = Callable[..., Any]


@pytest.fixture
def opened() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]) -> Callable[..., None]:
    """Make opening any dump give a crash, or raise."""

    def install(*results: FakeCrash | Exception | BaseException) -> None:
        pending: Iterator[FakeCrash | BaseException] = iter(results)

        def open_(path: Path, **options: Any) -> FakeCrash:
            opened.append({"path": path, **options})
            result = next(pending)
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr("crashkit.crash.open", open_)

    return install


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "vmcore"
    path.write_bytes(b"KDUMP   ")
    return path


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    here = {one.name for one in app.registered_commands}
    more = {"log": log_command, "dis": code, "skb": skb, "conntrack": conntrack}
    for name, module in {**more, "conncount": conncount}.items():
        if name not in here:
            module.register()


def invoke(*arguments: object) -> Any:
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def recipe_directory(
    tmp_path: Path, applies: str = "True", check: str = "seen(True, VALUE)"
) -> Path:
    directory = tmp_path / "more"
    directory.mkdir()
    (directory / "made_up.py").write_text(RECIPE.format(applies=applies, check=check))
    return directory


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, "crashkit 0.1.0\n")


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("triage", "bt", "log", "run", "recipes"):
        assert f"\n  {command}" in result.stdout


def test_triage_text(use: Callable[..., None], dump: Path) -> None:
    use(seed())
    result = invoke("triage", dump)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "BUG: unable to handle kernel NULL pointer dereference in nf_ct"
    )
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"]])
def test_triage_json(use: Callable[..., None], dump: Path, option: list[str]) -> None:
    use(seed())
    result = invoke("triage", dump, *option)
    assert json.loads(result.stdout)["schema"] == "crashkit.report/1"


def test_options_reach_open(
    use: Callable[..., None], dump: Path, tmp_path: Path, opened: list[dict[str, Any]]
) -> None:
    use(seed())
    module = tmp_path / "x.ko"
    elf(module, 1)
    invoke(
        "triage", dump, "-s", module, "--debug-directory", tmp_path, "--types", "dwarf",
        "--download", "-q",
    )  # fmt: skip
    assert opened == [
        {
            "path": dump,
            "symbols": [module],
            "debug_directory": [tmp_path],
            "types": "dwarf",
            "download": True,
            "progress": None,
            "opened": None,
        }
    ]


def elf(path: Path, kind: int) -> Path:
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + kind.to_bytes(2, "little") + bytes(46))
    return path


def test_dump_and_vmlinux_in_either_order(tmp_path: Path, dump: Path) -> None:
    vmlinux = elf(tmp_path / "vmlinux", 2)
    core = elf(tmp_path / "core", 4)
    assert not is_symbol_file(core)
    for files in ([dump, vmlinux], [vmlinux, dump]):
        assert tell_apart(files) == (dump, [vmlinux])
    assert tell_apart([vmlinux, core]) == (core, [vmlinux])
    assert tell_apart([vmlinux]) == (vmlinux, [])  # opening it says what it is
    with pytest.raises(UsageError, match="name the vmcore as well"):
        tell_apart([vmlinux, elf(tmp_path / "module.ko", 1)])
    with pytest.raises(UsageError, match="both no vmlinux"):
        tell_apart([dump, core])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\n" * 9, "is no ELF file"),
        (b"", "is no ELF file"),
        (b"MZ" + bytes(0x200) + b"HdrS" + bytes(99), "is the image that boots"),
        (b"KDUMP   " + bytes(99), "is a dump"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\0" + bytes(46), "is a dump"),
    ],
)
def test_what_is_no_vmlinux_is_said(
    use: Callable[..., None], tmp_path: Path, dump: Path, content: bytes, words: str
) -> None:
    use()
    other = tmp_path / "other"
    other.write_bytes(content)
    result = invoke("bt", dump, "-s", other)
    assert result.exit_code == 2
    assert f"{other} {words}" in result.stderr


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert not is_symbol_file(pipe)
    result = invoke("triage", pipe)
    assert result.exit_code == 3
    assert f"{pipe} is a device, pipe or socket" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["dis", "@", "schedule"], ["skb", "@"], ["conncount", "@"], ["conntrack", "@"]]
    + [["bt", "@", *option] for option in (["-a"], ["-p", "1"], ["-c", "0"], ["--all-tasks"])],
)
def test_a_log_is_no_dump(tmp_path: Path, arguments: list[str]) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text("[    2.000000] BUG: x\n")
    result = invoke(*[log if word == "@" else word for word in arguments])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"crashkit: {log} is a log without a dump")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["-s", "-o", "--debug-directory", "--recipes"])
def test_a_name_that_cannot_be_looked_up_is_one_sentence(
    use: Callable[..., None], tmp_path: Path, dump: Path, option: str
) -> None:
    use()
    place = tmp_path / ("x" * 300)  # as below a closed directory, Path.is_file() raises
    result = invoke("bt", dump, option, place)
    assert result.exit_code == 2
    assert str(place) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_vmlinux_of_another_build(
    use: Callable[..., None], tmp_path: Path, dump: Path, opened: list[dict[str, Any]]
) -> None:
    vmlinux = elf(tmp_path / "vmlinux", 2)
    mismatch = SymbolsError("vmlinux is not the vmlinux of this dump")
    use(mismatch, seed())
    result = invoke("triage", vmlinux, dump)
    assert result.exit_code == 0
    assert "is not the vmlinux of this dump" in result.stderr
    assert opened[1]["types"] == "btf"
    use(mismatch, empty())
    assert invoke("triage", vmlinux, dump).exit_code == 4
    use(mismatch)
    assert invoke("triage", vmlinux, dump, "--types", "dwarf").exit_code == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetError("vmcore is cut; copy it again"), 3),
        (UsageError("/proc/kcore is the running kernel"), 2),
        (SymbolsError("no vmlinux was found"), 4),
        (CrashkitError("something"), 1),
        (KeyboardInterrupt(), 130),
        (Unavailable("the log", Reason.NOT_IN_DUMP, "filtered"), 5),
        (Unavailable("types", Reason.NO_DEBUGINFO, "no BTF"), 4),
        (RuntimeError("a bug\nof ours"), 1),
    ],
)
@pytest.mark.parametrize("command", ["triage", "bt", "log"])
def test_every_end_is_one_sentence(
    use: Callable[..., None], dump: Path, command: str, error: BaseException, code: int
) -> None:
    use(error)
    result = invoke(command, dump, "--types", "btf")  # `log` opens no more than it must
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("crashkit: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_a_bug_of_ours_has_its_traceback_under_vv(use: Callable[..., None], dump: Path) -> None:
    use(RuntimeError("ours"))
    assert "Traceback" in invoke("triage", dump, "-vv").stderr


def test_errors_are_escaped(use: Callable[..., None], dump: Path) -> None:
    use(TargetError(f"vmcore {EVIL}"))
    result = invoke("triage", dump)
    assert "\x1b" not in result.stderr
    assert "\\x1b" in result.stderr


def test_warnings_go_to_stderr_unless_quiet(use: Callable[..., None], dump: Path) -> None:
    use(hostile(), hostile())
    assert invoke("triage", dump).stderr.startswith("crashkit: warning: \\x1b")
    assert invoke("triage", dump, "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "markdown"], "--format markdown is not built yet; use text or json"),
        (["--format", "jsonl"], "not built yet"),
        (["--format", "html"], "not built yet"),
        (["--format", "nonsense"], "not one of text, json"),
        (["--syntax", "intel"], "not built yet"),
        (["--types", "stabs"], "not one of auto, dwarf, btf"),
        (["--color", "mauve"], "not one of"),
        (["--redact"], "--redact is not built yet"),
        (["-s", "/nonexistent"], "/nonexistent is not a file"),
        (["--debug-directory", "/nonexistent"], "is not a directory"),
        (["--recipes", "/nonexistent"], "is not a directory"),
        (["-o", "/nonexistent/report"], "cannot be written"),
    ],
)
def test_usage_errors(
    use: Callable[..., None],
    dump: Path,
    opened: list[dict[str, Any]],
    arguments: list[str],
    words: str,
) -> None:
    use()
    result = invoke("triage", dump, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert opened == []  # before any work


@pytest.mark.parametrize(
    ("option", "count"),
    [([], 1), (["-a"], 2), (["-p", "5027"], 1), (["-c", "1"], 1), (["--all-tasks"], 1)],
)
def test_bt_chooses_stacks(
    use: Callable[..., None], dump: Path, option: list[str], count: int
) -> None:
    use(seed())
    result = invoke("bt", dump, "--json", *option)
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    assert len(made["stacks"]) == count
    assert made["stacks"][0]["count"] == (3 if "--all-tasks" in option else 1)


def test_bt_raw(use: Callable[..., None], dump: Path) -> None:
    use(seed())
    assert "0000000057ac6e9d" in invoke("bt", dump, "-f").stdout


def test_bt_of_a_task_that_is_not_there(use: Callable[..., None], dump: Path) -> None:
    use(seed())
    result = invoke("bt", dump, "-p", "4")
    assert result.exit_code == 5
    assert "PID 4: not-in-dump" in result.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["-a", "-p", "1"], "bt takes one of -a and -p"),
        (["-c", "0", "--all-tasks"], "bt takes one of -c and --all-tasks"),
        (["-c", "x"], "not CPUs like 0,2-4"),
        (["-c", ""], "not CPUs like 0,2-4"),
        (["-c", "4-2"], "no range"),
        (["-c", "0-99999999999"], "no range"),
    ],
)
def test_bt_usage_errors(
    dump: Path, opened: list[dict[str, Any]], option: list[str], words: str
) -> None:
    result = invoke("bt", dump, *option)
    assert result.exit_code == 2
    assert words in result.stderr
    assert opened == []


def test_cpu_lists() -> None:
    assert cpu_list("0,2-4,3") == (0, 2, 3, 4)


def test_unknown_command_and_missing_argument() -> None:
    assert invoke("explane").exit_code == 2
    assert invoke("triage").exit_code == 2


def test_bt(use: Callable[..., None], dump: Path) -> None:
    use(seed(), seed())
    assert "[exception RIP: nf_ct_deliver_cached_events+45]" in invoke("bt", dump).stdout
    assert json.loads(invoke("bt", dump, "--json").stdout)["schema"] == "crashkit.bt/1"


def test_log(use: Callable[..., None], dump: Path) -> None:
    use(seed(), hostile(), seed(), empty())
    words = ("log", dump, "--types", "btf")
    assert invoke(*words).stdout.startswith("[92957.332974] BUG: unable")
    assert "\x1b" not in invoke(*words).stdout
    assert json.loads(invoke(*words, "--json").stdout)["schema"] == "crashkit.log/1"
    missing = invoke(*words)
    assert missing.exit_code == 5
    assert f"{dump}: the kernel log: not-in-dump" in missing.stderr


def test_log_of_text(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text("[    1.000000] Linux version 6.1.0 (a@b)\n[    2.000000] BUG: x\n")
    result = invoke("log", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == path.read_text()


def test_output_file(use: Callable[..., None], dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.txt"
    out.write_text("old " * 10000)
    use(seed())
    result = invoke("triage", dump, "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_text().startswith("BUG: unable to handle")
    assert "old" not in out.read_text()


def test_output_is_left_alone_when_the_dump_cannot_be_opened(
    use: Callable[..., None], dump: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("kept")
    for path in (old, new):
        use(TargetError("cut"))
        assert invoke("triage", dump, "-o", path).exit_code == 3
    assert old.read_text() == "kept"
    assert not new.exists()


def test_output_never_overwrites_an_input(use: Callable[..., None], dump: Path) -> None:
    use()
    result = invoke("triage", dump, "-o", dump)
    assert result.exit_code == 2
    assert "is the input itself" in result.stderr
    assert dump.read_bytes() == b"KDUMP   "


def test_output_may_be_a_device(use: Callable[..., None], dump: Path) -> None:
    use(seed())
    assert invoke("triage", dump, "-o", "/dev/null").exit_code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence(use: Callable[..., None], dump: Path) -> None:
    use(seed())
    result = invoke("triage", dump, "-o", "/dev/full")
    assert result.exit_code == 2
    assert "/dev/full cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("applies", "check", "code", "words"),
    [
        ("True", "seen(True, VALUE)", 0, "1 of 1 required checks hold: CONFIRMED"),
        ("True", "seen(False, VALUE)", 10, "check 1 fails (a): REFUTED"),
        ("True", "lost()", 11, "nothing of it could be read (x: not-in-dump): INCONCLUSIVE"),
        ("False", "lost()", 12, "its symptom does not fit this crash: DOES NOT APPLY"),
        ("lost()", "lost()", 11, "whether made-up applies"),
        ("True", "{}[1]", 1, "made_up.py:10: KeyError: 1"),
    ],
)
def test_run(
    use: Callable[..., None],
    dump: Path,
    tmp_path: Path,
    applies: str,
    check: str,
    code: int,
    words: str,
) -> None:
    directory = recipe_directory(tmp_path, applies, check)
    use(seed(), seed())
    result = invoke("run", "made-up", dump, "--recipes", directory)
    assert result.exit_code == code
    assert words in " ".join(result.stdout.split())
    result = invoke("run", "made-up", dump, "--recipes", directory, "--json")
    assert json.loads(result.stdout)["schema"] == "crashkit.run/1"
    assert result.exit_code == code


def test_an_interrupted_triage_prints_what_there_is(
    use: Callable[..., None], dump: Path, tmp_path: Path
) -> None:
    directory = recipe_directory(tmp_path, applies="exec('raise KeyboardInterrupt')")
    use(seed())
    result = invoke("triage", dump, "--recipes", directory)
    assert result.exit_code == 130
    assert result.stdout.startswith("BUG: unable to handle")
    assert "made-up and the recipes after it: interrupted" in result.stdout


def test_run_without_symbols(use: Callable[..., None], dump: Path, tmp_path: Path) -> None:
    use(empty())
    result = invoke("run", "made-up", dump, "--recipes", recipe_directory(tmp_path))
    assert result.exit_code == 4


def test_a_symptom_is_not_missed_for_want_of_a_log(
    use: Callable[..., None], dump: Path, tmp_path: Path
) -> None:
    more = recipe_directory(tmp_path, applies="False")
    without = seed()
    without.log_ = None
    use(seed(), without)
    words = ("run", "made-up", dump, "--recipes", more)
    assert invoke(*words).exit_code == 12
    unknown = invoke(*words)
    assert unknown.exit_code == 11
    assert "the kernel log: not-in-dump" in unknown.stdout


def test_run_unknown_recipe(dump: Path) -> None:
    result = invoke("run", "nf-conntrack-clash-stale", dump)
    assert result.exit_code == 2
    assert "did you mean nf-conntrack-clash-stale-ct?" in result.stderr


def test_a_broken_recipe_leaves_the_report(
    use: Callable[..., None], dump: Path, tmp_path: Path
) -> None:
    directory = recipe_directory(tmp_path)
    (directory / "broken.py").write_text('"""D."""\n\ndef applies(\n')
    use(seed())
    result = invoke("triage", dump, "--recipes", directory)
    assert result.exit_code == 1
    assert result.stdout.startswith("BUG: unable to handle")
    assert "ERROR  recipe broken.py:3:" in result.stdout
    assert "made-up" in result.stdout


def test_recipes_list_and_show(tmp_path: Path) -> None:
    directory = recipe_directory(tmp_path)
    listed = invoke("recipes", "list", "--recipes", directory)
    assert listed.exit_code == 0
    assert "made-up\n    it was made up\n" in listed.stdout
    assert "nf-conntrack-clash-stale-ct\n" in listed.stdout
    shown = invoke("recipes", "show", "made-up", "--recipes", directory)
    assert "CLAIM  it was made up" in shown.stdout
    documents = {
        "crashkit.recipes/1": invoke("recipes", "list", "--json"),
        "crashkit.recipe/1": invoke("recipes", "show", "nf-conntrack-clash-stale-ct", "--json"),
    }
    for schema, result in documents.items():
        assert json.loads(result.stdout)["schema"] == schema
    (directory / "broken.py").write_text("1 +")
    broken = invoke("recipes", "list", "--recipes", directory)
    assert broken.exit_code == 1
    assert "made-up" in broken.stdout


def test_colour_only_where_asked(
    use: Callable[..., None], dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(seed(), seed(), seed())
    assert "\x1b[1m" in invoke("triage", dump, "--color", "always").stdout
    assert "\x1b" not in invoke("triage", dump, "--color", "never").stdout
    assert "\x1b" not in invoke("triage", dump, "--color", "always", "--json").stdout


def python(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    code = "from crashkit.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


def test_version_imports_neither_drgn_nor_rich() -> None:
    code = (
        "import sys\n"
        "from crashkit.cli.app import app\n"
        "heavy = {'drgn', '_drgn', 'capstone', 'rich', 'elftools'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_closed_pipe_is_no_error() -> None:
    code = "from crashkit.cli import main; main()"
    arguments = [sys.executable, "-c", code, "recipes", "show", "nf-conntrack-clash-stale-ct"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            arguments, check=False, stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        (">&-", 2, "crashkit: standard output cannot be written (Bad file descriptor)\n"),
        (
            "> /dev/full",
            2,
            "crashkit: standard output cannot be written (No space left on device)\n",
        ),
        (">&- 2>&-", 2, ""),
        ("2>&-", 0, ""),
        ("<&- > /dev/null 2> /dev/full", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(redirection: str, code: int, words: str) -> None:
    main = "from crashkit.cli import main; main()"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "{main}" recipes list {redirection}', sys.executable],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (code, words)


def test_nothing_is_lost_when_the_process_ends(tmp_path: Path) -> None:
    log = tmp_path / "dmesg.txt"
    line = "[    1.000000] " + "x" * 200 + "\n"
    log.write_text(line * 20_000)  # more than a pipe holds
    assert python("log", str(log)).stdout == line * 20_000


def test_a_terminal_that_speaks_only_ascii() -> None:
    done = python(
        "recipes",
        "show",
        "nf-conntrack-clash-stale-ct",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_dump_is_one_sentence() -> None:
    done = python("triage", "/nonexistent/vmcore")
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("crashkit: ")
    assert done.stderr.count("\n") == 1
