"""The command ``oops``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit.cli.app import app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain

if TYPE_CHECKING:
    from crashkit.target import Target

_STDIN = "-"
_PARTIAL = 5

_FILE = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|-", readable=False, help="A log, its directory, a dump, or standard input."
    ),
]


def register() -> None:
    """Add the command to the application."""
    command(app, "oops")(oops)


def oops(file: _FILE, options: Options) -> int:
    """List the reports in kernel log text, the first cause first (-v: code, registers)."""
    from crashkit.oops import ended_by, first_cause_of, parse_reports
    from crashkit.report import build_oops, render_json, render_oops
    from crashkit.report.escape import safe

    with closing(Output(options.output, [file], options.color)) as output:
        text, target = _read(file, options)
        reports = parse_reports(text)
        first = first_cause_of(reports) if reports else 0
        ended = ended_by(reports) if reports else None
        order = sorted(range(len(reports)), key=lambda number: number != first)
        document = build_oops(
            str(file),
            [reports[number] for number in order],
            ended=None if ended is None else order.index(ended),
            warnings=target.warnings,
        )
        if not options.quiet:
            for sentence in target.warnings:
                complain(f"warning: {safe(sentence)}")
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_oops(document, options.verbose))
        return _PARTIAL if target.truncated else 0


def _read(file: Path, options: Options) -> tuple[str, Target]:
    from crashkit.target import identify, read_text

    if str(file) == _STDIN:
        return _from_stdin()
    target = identify(file)
    if target.format == "text":
        return read_text(target.readable), target
    from crashkit.cli.inputs import open_crash  # it loads much, and is not needed for a log

    with open_crash(file, options) as crash:
        return crash.log, crash.target


def _from_stdin() -> tuple[str, Target]:
    # A file, because what comes may be compressed, or a report of apport's.
    from crashkit.errors import TargetError
    from crashkit.target import identify_source, read_text
    from crashkit.target.source import FileSource

    with tempfile.TemporaryFile(prefix="crashkit-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        with FileSource(os.dup(copy.fileno()), "standard input") as source:
            target = identify_source(source)
            if target.format != "text":
                raise TargetError("standard input is a dump: give its path")
            return read_text(target.file or f"/proc/self/fd/{source.descriptor}"), target
