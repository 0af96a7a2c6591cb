"""A report of kernel log text alone: the printed trace, the code, what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crashkit.crash import open_crash
from crashkit.pipeline import triage
from crashkit.recipe import Recipes
from crashkit.report import render_json, render_text, report_schema
from crashkit.report.printed_part import fold_unasked

NO_RECIPES = Recipes(recipes=(), errors=())
ADDRESS = "0000000700000412"
LOG = f"""\
[    1.000000] Linux version 6.1.0-56-cloud-amd64 (builder@debian.org)
[    1.500000] BUG: unable to handle page fault for address: {ADDRESS}
[    1.500001] #PF: supervisor read access in kernel mode
[    1.500002] #PF: error_code(0x0000) - not-present page
[    1.500003] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    1.500004] CPU: 1 PID: 96 Comm: orders Tainted: G           OE      6.1.0-56-cloud-amd64 #1
[    1.500005] Hardware name: Maker Board, BIOS 1 04/01/2014
[    1.500006] RIP: 0010:owner_rate+0x9/0x20 [shop]
[    1.500007] Code: cc cc cc 66 66 2e 0f 1f 84 00 00 00 00 00 90 90 90 90 90 90 90 90 90 90 90 \
90 90 90 90 90 90 90 90 0f 1f 44 00 00 48 8b 47 30 <8b> 40 1c 83 c0 01 75 f8 c3 cc cc cc cc 66
[    1.500008] RSP: 0018:ffffc900003fba98 EFLAGS: 00000246
[    1.500009] RAX: 00000007000003f6 RBX: ffff888101000000 RCX: 0000000000000000
[    1.500010] RDX: 0000000000000000 RSI: 0000000000000000 RDI: ffff888101000000
[    1.500011] Call Trace:
[    1.500012]  <IRQ>
[    1.500013]  rate_of+0xd/0x20 [shop]
[    1.500014]  </IRQ>
[    1.500015]  <TASK>
[    1.500016]  ? left_over+0x4a/0x90
[    1.500017]  nf_confirm+0xd2/0x120 [nf_conntrack]
[    1.500018]  do_syscall_64+0x5d/0x90
[    1.500019]  entry_SYSCALL_64_after_hwframe+0x6e/0xd8
[    1.500020]  </TASK>
[    1.500021] Modules linked in: shop(OE) nf_conntrack
[    1.500022] ---[ end trace 0000000000000000 ]---
"""


def report(tmp_path: Path, log: str = LOG) -> dict[str, Any]:
    path = tmp_path / "console.txt"
    path.write_text(log)
    with open_crash(path) as crash:
        return dict(triage(crash, recipes=NO_RECIPES).document)


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    return report(tmp_path)


def test_the_document_is_valid(made: dict[str, Any]) -> None:
    jsonschema.validate(json.loads(render_json(made)), report_schema())


def test_the_printed_trace_is_the_stack(made: dict[str, Any]) -> None:
    frames = made["frames"]
    assert [frame["function"] for frame in frames] == [
        "owner_rate", "rate_of", "left_over", "nf_confirm", "do_syscall_64",
        "entry_SYSCALL_64_after_hwframe",
    ]  # fmt: skip
    first, second, third = frames[:3]
    assert (first["interrupted"], first["offset"], first["size"]) == (True, 9, 0x20)
    assert first["module"] == "shop"
    assert (second["segment"], third["segment"]) == ("irq", "task")
    assert (second["how"], third["how"]) == ("printed", "printed as unreliable")


def test_what_text_cannot_tell_of_a_frame_is_null(made: dict[str, Any]) -> None:
    for frame in made["frames"]:
        assert (frame["pc"], frame["sp"], frame["slot"]) == (None, None, None)
        assert frame["absent"]["pc"] == "not-applicable"
        assert (frame["arguments"], frame["missing"]) == ([], [])
    reasons = {entry["what"]: entry["reason"] for entry in made["limits"]}
    assert reasons["arguments of the functions, and every value in memory"] == "not-applicable"


def test_stacks_that_the_kernel_does_not_mark_are_of_no_known_segment(tmp_path: Path) -> None:
    plain = "\n".join(line for line in LOG.split("\n") if not line.endswith(("IRQ>", "TASK>")))
    made = report(tmp_path, plain)
    assert {frame["segment"] for frame in made["frames"]} == {"unknown"}


def test_machine_modules_and_build(made: dict[str, Any]) -> None:
    panic = made["panic"]
    assert made["target"]["arch"] == "x86_64"
    assert panic["hardware"] == "Maker Board, BIOS 1 04/01/2014"
    assert panic["build"] == "#1"
    assert panic["modules"] == [
        {"name": "shop", "taint": ["O", "E"]}, {"name": "nf_conntrack", "taint": []},
    ]  # fmt: skip
    assert panic["problems"] == []


def test_the_code_around_the_trap(made: dict[str, Any]) -> None:
    code = {line["offset"]: line["instruction"] for line in made["panic"]["code"]}
    assert code[5] == "mov 0x30(%rdi),%rax"
    assert code[9] == "mov 0x1c(%rax),%eax"
    assert code[0xF] == "jne owner_rate+0x9"  # the address is not known, the place is
    assert min(code) == 0, "what is before the function is not shown"
    assert [line["offset"] for line in made["panic"]["code"] if line["trapping"]] == [9]


def test_text_of_the_report(made: dict[str, Any]) -> None:
    text = render_text(made)
    stack = text[text.index("STACK") :]
    assert stack.startswith("STACK as the kernel printed it; 1 that it marks as unreliable")
    assert "  RIP  owner_rate+0x9 [shop]" in stack
    assert "left_over" not in stack
    assert "? left_over+0x4a" in render_text(made, 1)
    assert "+0x9  mov 0x1c(%rax),%eax  <-- trapping" in text
    assert "NEXT   crash>" not in text


def test_what_to_collect(made: dict[str, Any]) -> None:
    words = "\n".join(made["collect"])
    assert "the vmcore of this crash" in words
    assert "linux-image-6.1.0-56-cloud-amd64-dbg" in words
    assert "conntrack -S" in words
    assert "source and build of shop:" in words
    assert "COLLECT    the vmcore" in render_text(made)


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        ("BUG kmalloc-64 (Not tainted): Poison overwritten", "slub_debug=FZPU"),
        ("INFO: task orders:94 blocked for more than 120 seconds.", "hung_task_panic"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [orders:94]", "softlockup_panic"),
        ("orders invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0", "Mem-Info"),
    ],
)
def test_what_to_collect_by_kind(tmp_path: Path, opening: str, words: str) -> None:
    made = report(tmp_path, f"[    1.000000] {opening}\n")
    assert any(words in entry for entry in made["collect"])


def test_a_cut_log_says_so(tmp_path: Path) -> None:
    made = report(tmp_path, LOG[: LOG.index("[    1.500017]")])
    assert "truncated" in [problem["name"] for problem in made["panic"]["problems"]]
    cut = next(entry for entry in made["limits"] if "the log ends" in entry["what"])
    assert cut["reason"] == "not-saved"
    assert made["collect"][0].startswith("the whole log")


def test_later_reports_are_named(tmp_path: Path) -> None:
    later = LOG.replace("    1.5", "   99.5").replace("owner_rate", "second_rate")
    made = report(tmp_path, LOG + later)
    titles = [one["title"] for one in (*made["panic"]["earlier"], *made["panic"]["later"])]
    assert len(titles) == 1


def test_recipes_that_look_at_memory_first_are_counted() -> None:
    cut = {"what": "the end", "reason": "not-saved", "remedy": ""}
    asked = [{"what": f"whether {n} applies: memory", "reason": "x", "remedy": ""} for n in "ab"]
    folded = fold_unasked([*asked, cut])
    assert folded[0] == cut
    assert folded[1]["what"] == "whether recipes apply that look at memory first: 2"
    assert fold_unasked([cut]) == [cut]


def test_a_log_of_nothing(tmp_path: Path) -> None:
    made = report(tmp_path, "[    1.000000] all is well\n")
    assert made["frames"] == []
    assert made["panic"]["modules"] is None
    jsonschema.validate(json.loads(render_json(made)), report_schema())
    assert render_text(made)


def test_an_interrupts_own_stack_stands_above_what_it_interrupted(tmp_path: Path) -> None:
    log = """\
[    6.0] rcu: INFO: rcu_preempt self-detected stall on CPU
[    6.1] CPU: 0 PID: 95 Comm: orders Not tainted 6.1.0 #1
[    6.2] RIP: 0010:poll+0x9/0x20
[    6.3] RSP: 0018:ffffc900003fba98 EFLAGS: 00000246
[    6.4] Call Trace:
[    6.5]  <IRQ>
[    6.6]  dump_stack_lvl+0x44/0x5c
[    6.7]  sysvec_apic_timer_interrupt+0x69/0x90
[    6.8]  </IRQ>
[    6.9]  <TASK>
[    7.0]  asm_sysvec_apic_timer_interrupt+0x16/0x20
[    7.1]  caller+0x1e/0x40
[    7.2]  do_syscall_64+0x5d/0x90
[    7.3]  </TASK>
"""
    names = [frame["function"] for frame in report(tmp_path, log)["frames"]]
    assert names[2:5] == ["asm_sysvec_apic_timer_interrupt", "poll", "caller"]
