"""Socket buffers as text: a line for each, by where they wait; one alone in full."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import WIDTH, wrap, wrap_groups
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json
from crashkit.report.text_packet import packet_words

_PLACES = {
    "stack": "on stacks",
    "nfqueue": "in nfnetlink queues",
    "socket": "in sockets",
    "qdisc": "in qdiscs",
    "softnet": "in input queues",
    "neighbour": "waiting for a neighbour",
    "fragments": "waiting for fragments",
    "gro": "in GRO",
}
_SUMMED = {0: "none", 1: "unnecessary", 2: "complete", 3: "partial"}


def render_skbs(document: Json, verbose: int = 0) -> str:
    """Render the skbs of a dump by place.

    :param verbose: with the conntrack and what led to each
    """
    document = safe_tree(document)
    groups = _groups(document["skbs"])
    counts: dict[str, int] = {}
    for (place, _owner), entries in groups.items():
        counts[place] = counts.get(place, 0) + len(entries)
    total = len(document["skbs"])
    said = ", ".join(f"{count} {_PLACES[place]}" for place, count in counts.items())
    lines = [f"{total} socket buffers" + (f": {said}" if said else " were found")]
    for (_place, owner), entries in groups.items():
        lines += ["", *wrap(owner, WIDTH, "  ", "")]
        for entry, where in entries:
            lines += _row(entry, where, verbose)
    return "\n".join([*lines, *_tail(document)]) + "\n"


def _groups(entries: list[Json]) -> dict[tuple[str, str], list[tuple[Json, str]]]:
    groups: dict[tuple[str, str], list[tuple[Json, str]]] = {}
    for entry in entries:
        for place in entry["stacks"]:
            groups.setdefault(("stack", place["stack"]), []).append((entry, place["found_by"]))
            break
        for place in entry["queues"]:
            owner, _comma, rest = place["owner_name"].partition(", ")
            where = ", ".join(filter(None, (place["queue"], rest)))
            groups.setdefault((place["place"], owner), []).append((entry, where))
    return groups


def _row(entry: Json, where: str, verbose: int) -> list[str]:
    start = f"  {int(entry['address'], 16):016x}  "
    lines = wrap_groups(describe(entry), ",", " " * 20, start)
    if verbose:
        lines += wrap(f"{where}; {_conntrack(entry)}", WIDTH, " " * 22, " " * 20)
    return lines


def describe(entry: Json) -> list[str]:
    """Describe an skb's packet, or what it is instead of one."""
    skb, packet = entry["skb"] or {}, entry["packet"]
    if packet is not None:
        return packet_words(packet, skb.get("device_name"))
    if not entry["skb"]:
        return [f"cannot be read: {entry['absent']['skb']}"]
    length = skb.get("length")
    size = "data of unknown length" if length is None else f"{length} bytes"
    protocol = skb.get("protocol")
    if not protocol:
        device = skb.get("device_name")
        words = f"{size} without headers" if length else "neither data nor headers"
        return [*([str(device)] if device else []), words]
    return [f"{size}, protocol {protocol:#06x}", f"packet: {entry['absent']['packet']}"]


def _conntrack(entry: Json) -> str:
    skb, ct = entry["skb"], entry["conntrack"]
    if skb is None or skb.get("conntrack") is None:
        return "conntrack not known"
    name = skb.get("ctinfo_name")
    if ct is not None:
        return f"conntrack {ct['address']} ({name})"
    if not skb["conntrack"]:
        return "untracked" if name == "IP_CT_UNTRACKED" else "no conntrack"
    return f"conntrack {skb['conntrack']} ({name}), which cannot be read"


def render_skb(document: Json) -> str:
    """Render one skb in full."""
    document = safe_tree(document)
    entry = document["skbs"][0]
    lines = [f"SKB    {int(entry['address'], 16):016x}"]
    lines += list(_facts(entry))
    lines += wrap_groups(describe(entry), ",", " " * 7, "PACKET ")
    lines += _tcp(entry["packet"])
    lines += wrap(f"CT     {_conntrack(entry)}{_tuple(entry)}", WIDTH, " " * 7, "")
    for number, words in enumerate(entry["found_by"]):
        lines += wrap(words, WIDTH, " " * 7, " " * 7 if number else "FOUND  ")
    if not entry["found_by"]:
        lines.append("FOUND  in no queue that was read and on no CPU's stack")
    lines += wrap(_tests(entry), WIDTH, " " * 7, "TESTS  ")
    return "\n".join([*lines, *_tail(document)]) + "\n"


def _facts(entry: Json) -> Iterator[str]:
    skb = entry["skb"]
    if skb is None:
        return
    known = {key: "?" if value is None else value for key, value in skb.items()}
    yield (
        f"       device {known['device_name']}, sock {_pointer(skb['socket'])},"
        f" users {known['users']}"
    )
    yield (
        f"       len {known['length']}, data_len {known['data_length']},"
        f" frags {known['nr_frags']}, frag_list {_pointer(skb['frag_list'])},"
        f" gso {known['gso_size']} x {known['gso_segments']}"
    )
    yield (
        f"       head {known['head']}, data {known['data']}, tail {known['tail']},"
        f" end {known['end']}"
    )
    yield (
        f"       headers at {known['mac_header']} (mac), {known['network_header']} (network),"
        f" {known['transport_header']} (transport); ip_summed"
        f" {_SUMMED.get(skb['ip_summed'], '?')}"
    )


def _pointer(value: object) -> str:
    return "?" if value is None else str(value) if value else "none"


def _tcp(packet: Json | None) -> list[str]:
    transport = (packet or {}).get("transport") or {}
    if "sequence" not in transport or "window" not in transport:
        return []
    text = (
        f"seq {transport['sequence']}, ack {transport['acknowledgement']},"
        f" window {transport['window']}"
    )
    options = ", ".join(transport["options"])
    return [f"       {text}" + (f", options {options}" if options else "")]


def _tuple(entry: Json) -> str:
    original = (entry["conntrack"] or {}).get("original")
    if not isinstance(original, dict):
        return ""
    ports = [
        f":{original[key]}" if original.get(key) is not None else ""
        for key in ("source_port", "destination_port")
    ]
    return (
        f": original {original['source']}{ports[0]} > {original['destination']}{ports[1]}"
        f", protocol {original['protocol']}"
    )


def _tests(entry: Json) -> str:
    tests = entry["validation"]
    if tests is None:
        return f"not made: {entry['absent']['validation']}"
    words = {True: "yes", False: "NO", None: "not known"}
    said = [
        f"{key.replace('_', ' ')} {words[value]}"
        for key, value in tests.items()
        if isinstance(value, bool) or value is None
    ]
    return ", ".join(said)


def _tail(document: Json) -> list[str]:
    lines: list[str] = []
    for queue in document["unread"]:
        detail = f" ({queue['detail']})" if queue["detail"] else ""
        text = f"(not read: {queue['queue']}: {queue['reason']}{detail})"
        lines += wrap(text, WIDTH, "  ", "")
    lines += [f"({entry['what']}: {entry['reason']})" for entry in document["limits"]]
    return ["", *lines] if lines else []
