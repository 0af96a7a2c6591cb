"""The first block of a text report: title, WHAT, MATCH, FIX, NOW."""

from __future__ import annotations

import itertools
import re

from crashkit.errors import in_brief
from crashkit.report.columns import WIDTH, bare, labelled, wrap
from crashkit.report.parts import Json
from crashkit.report.text_access import at_address, came_from, conflicting, did, is_check, who
from crashkit.report.text_hang import hang_sentence
from crashkit.report.text_packet import protocol_name
from crashkit.report.text_what import told_by_section

_DOING = (  # function on the stack, what the kernel was doing with a packet
    (("nfqnl_recv_verdict", "nf_reinject", "nfqnl_reinject"),
     "Passing on {packet} after an NFQUEUE verdict"),
    (("ip_forward", "ip6_forward"), "Forwarding {packet}"),
    (("ip_output", "ip6_output", "__ip_local_out", "ip6_local_out", "ip_send_skb"),
     "Sending {packet}"),
    (("ip_rcv", "ipv6_rcv", "ip_local_deliver", "__netif_receive_skb_core"),
     "Receiving {packet}"),
)  # fmt: skip

_NO_FAULT = {
    "sysrq": "A person crashed this kernel on purpose, through sysrq (echo c > /proc/sysrq-trigger"
    " or the key): no instruction faulted.",
    "hung-task": "No instruction faulted: a task did not run for longer than"
    " hung_task_timeout_secs, and the system is set to panic then.",
    "soft-lockup": "No instruction faulted: a CPU ran kernel code too long without rescheduling,"
    " and the system is set to panic then.",
    "hard-lockup": "No instruction faulted: a CPU took no interrupts for too long, and the system"
    " is set to panic then.",
    "rcu-stall": "No instruction faulted: a CPU or task held up RCU, and the system is set to"
    " panic then.",
    "oom": "Memory ran out and the system is set to panic then.",
    "nmi": "A non-maskable interrupt stopped the kernel: no instruction faulted.",
    "machine-check": "The CPU reported a hardware error: no instruction faulted.",
    "none": "The kernel was running when this dump was made.",
}


_NUMBERS = ("ascii", "err-ptr", "list-poison", "poison")
_PANIC = ("panic", "vpanic")
_SPOKEN_WITH_A_VOWEL = ("A", "E", "I", "O", "MPLS", "SCTP", "RSVP")
_ARTICLES = ("a", "an", "it", "its", "object", "the")


def title_line(document: Json) -> str:
    """Make the first line of a report."""
    panic = document["panic"]
    return str(panic["title"] or panic["message"] or "A crash whose kernel log is not readable")


def what(document: Json, finding: Json | None) -> list[str]:
    """Tell in two or three sentences what happened; a confirmed recipe's claim last."""
    fault = document["fault"]
    confirmed = finding is not None and finding["verdict"] == "confirmed"
    claim = [_sentence(finding["claim"])] if finding and confirmed else []
    if fault is None:
        held_up = hang_sentence(document)
        told = _without_fault(document, held_up)
        tells_all = held_up and document["panic"]["kind"] != "nmi"
        return labelled("WHAT", [told] if tells_all else [told, *claim])
    section = told_by_section(document) if is_check(fault) else None
    if finding is None:
        return labelled("WHAT", _unexplained(document, fault, section))
    if section is not None:
        return labelled("WHAT", [_full(section), *claim])
    doing = _doing(document)
    start = f"{doing} it" if doing else who(fault)
    statement = fault["diagnosis"]["statement"]
    if conflict := conflicting(fault):
        told = f"{conflict}."
    elif statement and not fault["expression"] and not is_check(fault):
        told = f"{start} {did(fault)}. {_full(statement)}"
    else:
        told = f"{start} {did(fault)}{_bad_value(fault)}."
    return labelled("WHAT", [told, *claim])


def _without_fault(document: Json, held_up: str | None) -> str:
    panic = document["panic"]
    section = told_by_section(document)
    if panic["kind"] in _NO_FAULT:
        why = _NO_FAULT[panic["kind"]]
        if held_up:
            return f"{_full(held_up)} {why}"
        return f"{why} {_full(section)}" if section else why
    reason = re.sub(r"[\s.]+$", "", panic["facts"].get("panic_reason") or "")
    if reason:
        called = f"{_panicked_in(document) or 'The kernel'} called panic(): {reason}."
        return f"{_full(section)} {called}" if section else called
    if panic["message"] is None:
        return "Why the kernel stopped is not known: no readable log, no faulting instruction."
    return "No faulting instruction was found on the crashed stack; the message above is all."


def _doing(document: Json) -> str:
    functions = {frame["function"] for frame in document["frames"]}
    packet = next((o["facts"] for o in document["objects"] if o["kind"] == "packet"), None)
    protocol = protocol_name(packet).upper() if packet else ""
    article = "an" if protocol.startswith(_SPOKEN_WITH_A_VOWEL) else "a"
    named = f"{article} {protocol} packet" if protocol.isalpha() else "a packet"
    hook = next((o["facts"] for o in document["objects"] if o["kind"] == "nf_hook"), None)
    if hook is not None:
        unsure = "" if hook["certainty"] == "proved" else "~"
        named += f" at {hook['hook']}{unsure}"
    for names, words in _DOING:
        if functions.intersection(names):
            return words.format(packet=named)
    return ""


def _bad_value(fault: Json) -> str:
    bad = fault["null_or_bad"]
    link = bad_link(fault)
    if not bad or link is None or link["value"] is None:
        return ""
    now = ""
    if link["now"] is not None and link["now"] != link["value"]:
        now = f" and is {_identified(link['now'], link['now_identity'])} now"
    elif link["now"] is not None and link["certainty"] == "proved":
        now = " and still is"
    then = _identified(link["value"], link["identity"])
    if (meaning := _meaning(fault)) and not link["identity"]:
        then += f", {meaning},"
    return f"; {bad} was {then} at the fault{now}"


def _meaning(fault: Json) -> str | None:
    # What a number that is no address stands for.
    said, prefix = fault["diagnosis"]["statement"], f"{fault['null_or_bad']} was "
    if fault["diagnosis"]["kind"] not in _NUMBERS or not said.startswith(prefix):
        return None
    words = re.sub(r"^0x[0-9a-f]+: ", "", said.removeprefix(prefix))
    return words.partition(":")[0] if words.startswith("LIST_POISON") else words


def bad_link(fault: Json) -> Json | None:
    """Find the part of the chain that was bad."""
    return next((x for x in fault["chain"] if x["expression"] == fault["null_or_bad"]), None)


def _identified(value: str | None, identity: str | None) -> str:
    if identity and identity.isidentifier():
        return f"&{identity}"
    return bare(value) + (f" ({identity})" if identity else "")


def _panicked_in(document: Json) -> str | None:
    # Who called panic(), where that says more than that the kernel did.
    names = [frame["function"] for frame in document["frames"] if not frame["inlined"]]
    for name, caller in itertools.pairwise(names):
        if name in _PANIC and caller is not None and caller not in _PANIC:
            return f"{caller}()"
    return None


def _unexplained(document: Json, fault: Json, section: str | None) -> list[str]:
    did_it = f"{who(fault)} {did(fault)}{at_address(fault)}{_numbers(document)}"
    first = f"{conflicting(fault) or did_it}{_bad_value(fault)}"
    lines = [first, *_said(document)] if section is None else [section]
    for link in fault["chain"]:
        if link["expression"] == fault["null_or_bad"] or link["value"] is None:
            continue
        typed = f", {link['ctype']}" if link["ctype"] else ""
        known = f", {link['identity']}" if link["identity"] else ""
        lines.append(f"{link['expression']} = {bare(link['value'])}{typed}{known}")
    lines += came_from(fault)
    unsaid = fault["diagnosis"]["statement"] not in first and not is_check(fault)
    if not fault["expression"] and unsaid:
        lines.append(fault["diagnosis"]["statement"])
    return lines


def _said(document: Json) -> list[str]:
    bug = document["panic"]["facts"].get("bug")
    if not bug or not bug["message"]:
        return []
    own = bug["entry"] is None or bug["entry"]["warning"]
    return [f"{'it said' if own else 'printed right before ~'}: {bug['message']}"]


def _numbers(document: Json) -> str:
    divide = document["panic"]["facts"].get("divide")
    if not divide:
        return ""
    why = "" if divide["divisor"] == 0 else f": the {divide['cause']}"
    return f" ({divide['dividend']} / {divide['divisor']}{why})"


def _full(text: str) -> str:
    # A name at the beginning stays as it is written.
    first, _, _ = text.partition(" ")
    return _sentence(text) if first in _ARTICLES else text.rstrip(".") + "."


def _sentence(text: str) -> str:
    text = text.strip()
    # A name of the kernel's or a module's stays as it is written.
    first = text.partition(" ")[0]
    text = text[:1].upper() + text[1:] if first.isalpha() else text
    return text + ("" if text.endswith((".", "!", "?")) else ".")


def is_unread(finding: Json) -> bool:
    """Whether nothing that a finding requires could be read."""
    required = finding["required"]
    return bool(finding["verdict"] == "inconclusive" and required["hold"] == required["fail"] == 0)


def match_line(finding: Json, *, from_text: bool = False) -> list[str]:
    """Name a recipe, its counts and its verdict.

    :param from_text: there is no dump, only the kernel's words
    """
    verdict = finding["verdict"].upper()
    if finding["error"]:
        words = f"the recipe has an error: {finding['error']}: {verdict}"
    elif finding["verdict"] == "refuted":
        words = f"{_refuting(finding)}: {verdict}"
    elif is_unread(finding) and not from_text:
        words = f"nothing of it could be read{_why_unread(finding)}: {verdict}"
        return wrap(f"{finding['recipe']}   {words}", WIDTH, " " * 7, "MATCH  ")
    elif from_text:
        words = f"consistent with the text, which cannot confirm it: {verdict}"
    else:
        words = f"{_counts(finding['required'])}: {verdict}"
        if finding["classes"]:
            words += f": {', '.join(finding['classes'])}"
    lines = wrap(f"{finding['recipe']}   {words}", WIDTH, " " * 7, "MATCH  ")
    if finding["verdict"] == "inconclusive":
        lines += wrap(f"would mean: {finding['claim']}", WIDTH, " " * 7)
    return lines


def refuted_line(finding: Json) -> str:
    """Name a recipe that does not fit, in one line."""
    head, tail = f"MATCH  {finding['recipe']}   ", ": REFUTED"
    why = _refuting(finding)
    room = WIDTH - len(head) - len(tail)
    if len(why) > room:
        why = why[: room - 4].rstrip() + "...)"
    return head + why + tail


def _why_unread(finding: Json) -> str:
    for check in finding["checks"]:
        if check["role"] == "necessary" and check["why_not"]:
            return f" ({in_brief(check['why_not'])})"
    return ""


def _counts(required: Json) -> str:
    total = required["hold"] + required["fail"] + required["not_read"]
    head = f"{required['hold']} of {total} required checks hold"
    if required["hold"] == total:
        return head
    return f"{head}, {required['fail']} fail, {required['not_read']} not read"


def _refuting(finding: Json) -> str:
    for number, check in enumerate(finding["checks"], 1):
        if check["role"] == "necessary" and check["holds"] is False:
            return f"check {number} fails ({check['statement']})"
        if check["role"] == "excluding" and check["holds"] is True:
            return f"check {number} excludes it ({check['statement']})"
    return "refuted"


def fix_lines(finding: Json) -> list[str]:
    """Name the fix, where it is, and whether this kernel has it; then what to do now."""
    lines: list[str] = []
    if fix := finding["fix"]:
        stable = f"; stable {' '.join(fix['stable'])}" if fix["stable"] else ""
        named = f'{fix["upstream"]} "{fix["title"]}", {fix["release"]}{stable}'
        others = "; ".join(fix["distributions"])
        lines += labelled("FIX", [named, *([others] if others else []), _here(fix)])
    if finding["advice"]:
        lines += labelled("NOW", [finding["advice"]])
    return lines


def _here(fix: Json) -> str:
    words = {True: "fixed", False: "not fixed", None: "not decided"}[fix["in_this_binary"]]
    seen = f" ({fix['how_seen']})" if fix["how_seen"] else ""
    return f"this kernel: {words}{seen}"
