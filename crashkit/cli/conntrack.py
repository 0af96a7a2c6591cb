"""The command ``conntrack``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain
from crashkit.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.decode.conntrack_expectations import Expectation
    from crashkit.decode.conntrack_filter import Wanted
    from crashkit.decode.conntrack_table_entry import TableEntry
    from crashkit.report import Listing

LISTS = ("hash", "unconfirmed", "dying", "expect")
_MAX_MODULES = 10_000
_PARTIAL = 5


def register() -> None:
    """Add the command to the application."""
    command(app, "conntrack", formats=("text", "json", "jsonl"))(conntrack)


def conntrack(
    vmcore: Vmcore,
    options: Options,
    explain: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Say what one entry's state means.")
    ] = None,
    lists: Annotated[
        str | None,
        typer.Option("--list", metavar="LIST[,LIST]", help="hash, unconfirmed, dying or expect."),
    ] = None,
    proto: Annotated[str | None, typer.Option(metavar="NAME|NUMBER", help="IP protocol.")] = None,
    src: Annotated[
        str | None, typer.Option(metavar="ADDRESS[/LEN]", help="Original source.")
    ] = None,
    dst: Annotated[
        str | None, typer.Option(metavar="ADDRESS[/LEN]", help="Original destination.")
    ] = None,
    sport: Annotated[str | None, typer.Option(metavar="PORT", help="Original source.")] = None,
    dport: Annotated[str | None, typer.Option(metavar="PORT", help="Original destination.")] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE[,STATE]", help="One of these TCP or SCTP states.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="BIT[,!BIT]", help="All of these; ! is not set.")
    ] = None,
    netns: Annotated[
        str | None, typer.Option(metavar="INODE|ADDRESS", help="Network namespace.")
    ] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="Conntrack zone.")] = None,
    mark: Annotated[str | None, typer.Option(metavar="VALUE[/MASK]", help="Mark.")] = None,
) -> int:
    """List the connections as conntrack -L does, or explain one (--explain ADDRESS)."""
    from crashkit.cli.inputs import open_dump, warn
    from crashkit.decode.conntrack_filter import Wanted
    from crashkit.pipeline import exit_code

    wanted = Wanted(
        proto=proto,
        src=src,
        dst=dst,
        sport=sport,
        dport=dport,
        state=state,
        status=status,
        netns=netns,
        zone=zone,
        mark=mark,
    )
    chosen = _chosen(lists)
    if explain is not None and (lists is not None or wanted != Wanted()):
        raise UsageError("--explain takes one address and no filter")
    with (
        closing(Output(options.output, [vmcore], "never")) as output,
        open_dump(vmcore, options, "no connection table to be read") as crash,
    ):
        warn(crash, options)
        if not _is_loaded(crash) and options.output_format == "text":
            output.write("nf_conntrack is not loaded: this kernel tracks no connections.\n")
            return exit_code(crash)
        if explain is not None:
            return _explain(crash, options, output, explain)
        return _list(crash, options, output, wanted, chosen)


def _is_loaded(crash: Crash) -> bool:
    # Where the list of modules breaks off it may be: what is missing is said where it is read.
    from drgn.helpers.linux.module import for_each_module

    from crashkit.memory import BROKEN_WALK, bounded
    from crashkit.symbols import find_symbol

    if find_symbol(crash.prog, "nf_conntrack_hash") is not None:
        return True
    try:
        modules = bounded(for_each_module(crash.prog), _MAX_MODULES, "modules")
        return any(module.name.string_() == b"nf_conntrack" for module in modules)
    except (Unavailable, LookupError, *BROKEN_WALK):
        return True


def _chosen(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in LISTS:
            raise UsageError(f"--list {name}: not one of {', '.join(LISTS)}")
    return names


def _list(
    crash: Crash, options: Options, output: Output, wanted: Wanted, chosen: tuple[str, ...] | None
) -> int:
    from crashkit.decode.conntrack_table import Table
    from crashkit.pipeline import exit_code
    from crashkit.report import Listing, render_conntrack_summary, render_netfilter

    table = Table(crash.prog)
    listing = Listing(table, options.verbose)
    entries = _entries(listing, wanted, chosen)
    if options.output_format == "json":
        whole = output.stream(listing.document(crash, entries))
    elif options.output_format == "jsonl":
        whole = output.stream(listing.lines(crash, entries))
    else:
        whole = output.stream(listing.texts(entries))
    if whole and options.verbose and options.output_format == "text":
        output.stream(render_netfilter(net, options.verbose) for net in listing.netfilter())
    if whole and options.output_format == "text" and (listing.lost or not options.quiet):
        for line in render_conntrack_summary(listing.totals()):
            complain(line)
    code = exit_code(crash)
    return _PARTIAL if code == 0 and listing.lost and _is_loaded(crash) else code


def _entries(
    listing: Listing, wanted: Wanted, chosen: tuple[str, ...] | None
) -> Iterator[TableEntry | Expectation]:
    from crashkit.decode.conntrack_filter import entry_filter

    test = entry_filter(wanted, listing.table)
    if test is not None and "expect" in (chosen or ()):
        raise UsageError("--list expect takes no filter: an expectation is no connection yet")
    found = listing.entries(chosen)
    if test is None:
        return found
    return listing.wanted(found, test)


def _explain(crash: Crash, options: Options, output: Output, text: str) -> int:
    from crashkit.decode.conntrack_explain import require_conntrack
    from crashkit.decode.conntrack_filter import number
    from crashkit.decode.conntrack_table import Table
    from crashkit.pipeline import exit_code
    from crashkit.report import build_explanation, render_explanation, render_json

    address = number("--explain", text if text.startswith("0x") else f"0x{text}", (1 << 64) - 1)
    allocated = require_conntrack(crash.prog, address)
    entry = Table(crash.prog).entry(address)
    document = build_explanation(crash, entry, allocated)
    as_json = options.output_format in ("json", "jsonl")
    output.write(render_json(document) if as_json else render_explanation(document))
    return exit_code(crash)
