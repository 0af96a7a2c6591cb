"""The command ``skb``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit._version import __version__
from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain
from crashkit.cli.paths import is_same
from crashkit.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.crash.skb_places import FoundSkb, FoundSkbs

_ADDRESS = Annotated[
    str | None, typer.Argument(metavar="ADDRESS", help="One sk_buff; all found unless given.")
]
_PCAP = Annotated[
    Path | None,
    typer.Option(
        "--pcap", metavar="FILE", readable=False, help="Write the packets there (pcapng)."
    ),
]


def register() -> None:
    """Add the command to the application."""
    command(app, "skb", formats=("text", "json", "jsonl"))(skb)


def skb(vmcore: Vmcore, options: Options, address: _ADDRESS = None, pcap: _PCAP = None) -> int:
    """Show packets: one socket buffer in full, or all on stacks and in queues."""
    from crashkit.cli.inputs import open_dump, warn
    from crashkit.crash.skb_places import find_all_skbs
    from crashkit.pipeline import PARTIAL, exit_code

    wanted = None if address is None else _number(address)
    with closing(Output(options.output, [vmcore], options.color)) as output:
        with open_dump(vmcore, options, "no packet to be found") as crash:
            found = _chosen(find_all_skbs(crash), wanted)
            text = _text(crash, found, options, alone=wanted is not None)
            if pcap is not None:
                _write_capture(crash, found.skbs, pcap, vmcore)
            warn(crash, options)
            code = exit_code(crash)
            if wanted is not None and code == 0 and not _is_readable(crash, wanted):
                code = PARTIAL
        output.write(text)
        return code


def _is_readable(crash: Crash, address: int) -> bool:
    from drgn import Object

    from crashkit.decode import decode_skb

    try:
        decode_skb(Object(crash.prog, "struct sk_buff *", address))
    except Unavailable:
        return False
    return True


def _number(text: str) -> int:
    digits = text.lower().removeprefix("0x")
    try:
        number = int(digits, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64 or "_" in digits:
        raise UsageError(f"{text!r} is no address; name an sk_buff, e.g. ffff893c9491a500")
    return number


def _chosen(found: FoundSkbs, wanted: int | None) -> FoundSkbs:
    from crashkit.crash.skb_places import FoundSkb, FoundSkbs

    if wanted is None:
        return found
    same = tuple(skb for skb in found.skbs if skb.address == wanted)
    return FoundSkbs(skbs=same or (FoundSkb(address=wanted),), unread=found.unread)


def _text(crash: Crash, found: FoundSkbs, options: Options, *, alone: bool) -> str:
    from crashkit.report.json_text import render_json
    from crashkit.report.skb import build_skb, skb_lines
    from crashkit.report.text_skb import render_skb, render_skbs

    if options.output_format == "jsonl":
        return "".join(f"{line}\n" for line in skb_lines(crash, found.skbs, found.unread))
    document = build_skb(crash, found.skbs, found.unread)
    if options.output_format == "json":
        return render_json(document)
    return render_skb(document) if alone else render_skbs(document, options.verbose)


def _write_capture(crash: Crash, found: tuple[FoundSkb, ...], path: Path, vmcore: Path) -> None:
    from crashkit.report.skb_capture import skb_capture

    if is_same(path, vmcore):
        raise UsageError(f"--pcap {path} is the dump itself; name another file")
    content, count, without = skb_capture(crash, found, f"crashkit {__version__}")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"--pcap {path} cannot be written ({error.strerror})") from error
    more = f"; {len(without)} socket buffers hold no IP packet" if without else ""
    complain(f"{count} packets written to {path}{more}")
