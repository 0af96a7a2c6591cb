"""The first block of a text report: title, WHAT, MATCH, FIX, NOW."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, bare, labelled, wrap
from crashkit.report.parts import Json
from crashkit.report.text_access import came_from, did, subject
from crashkit.report.text_hang import hang_sentence
from crashkit.report.text_packet import protocol_name

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
    "hung-task": "A task did not run for longer than hung_task_timeout_secs and the system is set"
    " to panic then: no instruction faulted.",
    "soft-lockup": "A CPU ran kernel code too long without rescheduling and the system is set to"
    " panic then: no instruction faulted.",
    "hard-lockup": "A CPU took no interrupts for too long and the system is set to panic then: no"
    " instruction faulted.",
    "rcu-stall": "A CPU or task held up RCU and the system is set to panic then: no instruction"
    " faulted.",
    "oom": "Memory ran out and the system is set to panic then: no instruction faulted.",
    "nmi": "A non-maskable interrupt stopped the kernel: no instruction faulted.",
    "machine-check": "The CPU reported a hardware error: no instruction faulted.",
    "none": "The kernel was running when this dump was made.",
}


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
        return labelled("WHAT", [_without_fault(document), *claim])
    if finding is None:
        return labelled("WHAT", _unexplained(fault))
    doing = _doing(document)
    start = f"{doing} it" if doing else "It"
    told = f"{start} {did(fault)}{_bad_value(fault)}."
    return labelled("WHAT", [told, *claim])


def _without_fault(document: Json) -> str:
    panic = document["panic"]
    if panic["kind"] in _NO_FAULT:
        held_up = hang_sentence(document)
        return _NO_FAULT[panic["kind"]] + (f" {held_up}" if held_up else "")
    reason = panic["facts"].get("panic_reason")
    if reason:
        return f"The kernel called panic(): {reason}."
    if panic["message"] is None:
        return "Why the kernel stopped is not known: no readable log, no faulting instruction."
    return "No faulting instruction was found on the crashed stack; the message above is all."


def _doing(document: Json) -> str:
    functions = {frame["function"] for frame in document["frames"]}
    packet = next((o["facts"] for o in document["objects"] if o["kind"] == "packet"), None)
    protocol = protocol_name(packet).upper() if packet else ""
    named = f"a {protocol} packet" if protocol.isalpha() else "a packet"
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
    return f"; {bad} was {_identified(link['value'], link['identity'])} at the fault{now}"


def bad_link(fault: Json) -> Json | None:
    """Find the part of the chain that was bad."""
    return next((x for x in fault["chain"] if x["expression"] == fault["null_or_bad"]), None)


def _identified(value: str | None, identity: str | None) -> str:
    if identity and identity.isidentifier():
        return f"&{identity}"
    return bare(value) + (f" ({identity})" if identity else "")


def _unexplained(fault: Json) -> list[str]:
    first = f"{subject(fault)}{_bad_value(fault).replace(';', ':', 1)}"
    lines = [first]
    for link in fault["chain"]:
        if link["expression"] == fault["null_or_bad"] or link["value"] is None:
            continue
        typed = f", {link['ctype']}" if link["ctype"] else ""
        known = f", {link['identity']}" if link["identity"] else ""
        lines.append(f"{link['expression']} = {bare(link['value'])}{typed}{known}")
    lines += came_from(fault)
    if not fault["expression"] and fault["diagnosis"]["statement"] not in first:
        lines.append(fault["diagnosis"]["statement"])
    return lines


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def match_line(finding: Json, *, from_text: bool = False) -> list[str]:
    """Name a recipe, its counts and its verdict.

    :param from_text: there is no dump, only the kernel's words
    """
    verdict = finding["verdict"].upper()
    if finding["error"]:
        words = f"the recipe has an error: {finding['error']}: {verdict}"
    elif finding["verdict"] == "refuted":
        words = f"{_refuting(finding)}: {verdict}"
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
