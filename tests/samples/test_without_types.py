"""The sample as if its BTF were gone: the log, the registers, and no verdict."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from crashkit.cli import log
from crashkit.cli.app import app
from crashkit.crash import open_crash
from crashkit.errors import Reason, Unavailable
from crashkit.pipeline import triage
from crashkit.symbols import attach
from tests.samples.conftest import SAMPLES

pytestmark = pytest.mark.sample


def test_without_btf(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_btf(_prog: object) -> None:
        raise Unavailable("BTF of vmlinux", Reason.NO_DEBUGINFO, "taken out by the test")

    monkeypatch.setattr(attach, "_vmlinux_blob", no_btf)
    with open_crash(SAMPLES / "clash-ct-net" / "vmcore") as crash:
        report = triage(crash)
        text = report.text(verbose=1)
    assert report["target"]["types"] == "symbols"
    assert report.exit_code == 4
    assert {frame["how"] for frame in report["frames"]} == {"printed", "printed as unreliable"}
    assert "STACK as the kernel printed it" in text
    assert [(r["what"], r["reached"]) for r in report["ladder"]] == [
        ("log", "yes"), ("system", "yes"), ("stacks", "no"), ("types", "partly"),
    ]  # fmt: skip
    (finding,) = report["findings"]
    assert finding["verdict"] == "inconclusive"
    assert finding["error"] is None
    assert all(c["holds"] is None for c in finding["checks"] if c["role"] == "necessary")
    fault = report["fault"]
    assert fault["instruction"] == "mov 0x910(%rax),%rax"  # from the Code: line
    assert fault["expression"] is None
    assert fault["absent"]["expression"] == "no-debuginfo"
    assert "RAX: 0000000000000000" in text
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000910" in text


def test_the_log_needs_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_names(*_: object) -> None:
        raise AssertionError("the log alone was asked for")

    monkeypatch.setattr(attach, "attach", no_names)
    monkeypatch.setattr("crashkit.crash.opening.attach", no_names)
    if not any(one.name == "log" for one in app.registered_commands):
        log.register()
    done = CliRunner().invoke(app, ["log", str(SAMPLES / "clash-ct-net" / "vmcore")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000910" in done.stdout
