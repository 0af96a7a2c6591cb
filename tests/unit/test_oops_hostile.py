"""Logs that are cut, mixed up or made to hurt: no error, and no more time than their size."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crashkit.oops import parse_oops, parse_reports
from crashkit.oops.parse import MAX_REPORTS
from tests.unit import oops_logs as logs

LOGS = [
    value for name, value in sorted(vars(logs).items()) if name.isupper() and isinstance(value, str)
]
SECONDS = 2.0
MEGABYTES = 2  # tests/bench/oops_speed.py takes more


@st.composite
def damaged(draw: st.DrawFn) -> str:
    lines = [line for log in draw(st.lists(st.sampled_from(LOGS), min_size=1, max_size=3))
             for line in log.split("\n")]  # fmt: skip
    random_ = random.Random(draw(st.integers(0, 1 << 32)))
    for _ in range(draw(st.integers(0, 30))):
        number = random_.randrange(len(lines))
        line = lines[number]
        at = random_.randrange(len(line) + 1)
        change = draw(st.sampled_from(["cut", "flip", "swap", "drop", "twice", "merge"]))
        if change == "cut":
            lines[number] = line[:at]
        elif change == "flip":
            lines[number] = line[:at] + chr(random_.randrange(0x110000 - 0x2000)) + line[at + 1 :]
        elif change == "swap":
            other = random_.randrange(len(lines))
            lines[number], lines[other] = lines[other], lines[number]
        elif change == "drop":
            lines[number] = ""
        elif change == "twice":
            lines.insert(number, line)
        else:
            lines[number] = line + lines[random_.randrange(len(lines))]
    text = "\n".join(lines)
    return text[: draw(st.integers(0, len(text)))]


@settings(max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_a_damaged_log_is_parsed_or_not_but_never_an_error(text: str) -> None:
    for oops in parse_reports(text):
        assert oops.title
        assert oops.kind
        assert oops.trapping_byte is None or 0 <= oops.trapping_byte < len(oops.code)
        assert oops.stack_key is None or len(oops.stack_key) == 40
        assert 0 <= oops.line <= text.count("\n")
    first, again = parse_oops(text), parse_oops(text)
    assert (first and first.title) == (again and again.title)


@settings(max_examples=150, deadline=1000)
@given(st.text(max_size=400))
def test_any_text_is_parsed(text: str) -> None:
    for prefix in (
        "",
        "BUG: KASAN: ",
        "Call Trace:\n ",
        "[    1.0] Oops: 0000 [#1]\n",
        '{"MESSAGE',
    ):
        parse_reports(prefix + text)


_RUNS = {  # what is repeated
    "one long line": "x",
    "spaces": " ",
    "digits": "0",
    "brackets": "[",
    "stamps": "[    1.000000] ",
    "escapes": "\x1b[",
    "healthy": "[    1.000000] usb 1-1: new high-speed USB device number 2\n",
    "openings": "BUG: kernel NULL pointer dereference, address: 0\n",
    "warnings": "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n",
    "entries": " f+0x1/0x2\n",
    "traces": "Call Trace:\n f+0x1/0x2\n",
    "panics": "Kernel panic - not syncing: x\n",
    "parts": "Oops#1 Part1\n",
    "dots": "[1.1.1.1.1.1] ",
    "json": '{"MESSAGE": "kernel BUG at a.c:1!"}\n',
    "code": "00 ",
    "taint": "G ",
    "names": "a_",
    "callers": "".join(f"[    1.000000][ T{n}] kernel BUG at a.c:{n}!\n" for n in range(97)),
}
_BEFORE = {
    "entries": "kernel BUG at a.c:1!\nCall Trace:\n",
    "code": "kernel BUG at a.c:1!\nCode: ",
    "taint": "kernel BUG at a.c:1!\nCPU: 0 PID: 1 Comm: a Tainted: ",
    "names": "BUG: KASAN: use-after-free in ",
}


@pytest.mark.parametrize("name", _RUNS)
def test_time_is_bounded_whatever_is_repeated(name: str) -> None:
    once = _RUNS[name]
    text = _BEFORE.get(name, "") + once * ((MEGABYTES << 20) // len(once))
    start = time.process_time()
    reports = parse_reports(text)
    assert time.process_time() - start < SECONDS
    assert len(reports) <= MAX_REPORTS


@pytest.mark.parametrize("log", LOGS)
def test_time_grows_with_the_size_of_a_log(log: str) -> None:
    long = log.replace("\n", "\n" + "filler 0x12 [abc] f+0x1 at: " * 30 + "\n")
    start = time.process_time()
    parse_reports(long)
    assert time.process_time() - start < 1
