"""crash and gdb on a made vmlinux: the same answers as with the distribution's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from crashkit.crash import Crash
from crashkit.mkvmlinux import make
from tests.lab.conftest import debug_directory, lab_vmcore

pytestmark = pytest.mark.lab

DUMP = "clash-stock-6.1"
COMMANDS = (
    "bt", "log", "ps", "mod", "struct task_struct", "struct -o nf_conn", "kmem -s", "foreach bt",
    "timer", "net", "whatis schedule", "sys",
)  # fmt: skip
# What names the file, or the process that crash is.
_OWN = re.compile(r"^ *KERNEL: .*|error trace: .*", re.MULTILINE)


@pytest.fixture(scope="module")
def made(opened: Callable[..., Crash], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "vmlinux"
    with path.open("wb") as file:
        lost = make(opened(DUMP), file)
    assert not lost.missing
    return path


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def crash_says(vmlinux: Path, folder: Path) -> str:
    script = folder / "commands"
    script.write_text("\n".join([*COMMANDS, "quit", ""]))
    done = subprocess.run(
        [needs("crash"), "-s", str(vmlinux), str(lab_vmcore(DUMP)), "-i", str(script)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    return _OWN.sub("", done.stdout)


def test_crash_answers_as_with_the_real_vmlinux(made: Path, tmp_path: Path) -> None:
    needs("crash")
    real = next(debug_directory().rglob("vmlinux-*"))
    assert real.is_file()
    ours = crash_says(made, tmp_path)
    assert len(ours.splitlines()) > 1000
    assert ours == crash_says(real, tmp_path)


def test_gdb_knows_symbols_types_and_variables(made: Path) -> None:
    questions = (
        "ptype struct sk_buff", "print &((struct nf_conn *)0)->status", "info symbol schedule",
        "whatis init_task", "print init_task.comm", "whatis schedule", "info line schedule",
    )  # fmt: skip
    words = [word for question in questions for word in ("-ex", question)]
    done = subprocess.run(
        [needs("gdb"), "-nx", "-batch", *words, str(made)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for expected in (
        "struct sock *sk;",
        "(unsigned long *) 0x",
        "schedule in section .text",
        "type = struct task_struct",
        '"swapper/0',
        "type = void (void)",
        "No line number information available for address 0x",
    ):
        assert expected in done.stdout, done.stderr
