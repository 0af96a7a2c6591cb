"""The command ``diff``."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit.cli.app import app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain
from crashkit.cli.paths import is_same
from crashkit.errors import SymbolsError, TargetError

if TYPE_CHECKING:
    from crashkit.crash import Crash

_ORDER = (3, 4, 1, 5, 0)
# The first that applies wins.

First = Annotated[
    Path, typer.Argument(metavar="A", readable=False, help="A dump, its directory, or a log.")
]
Second = Annotated[
    Path, typer.Argument(metavar="B", readable=False, help="Another of the same host.")
]


def register() -> None:
    """Add the command to the application."""
    command(app, "diff", formats=("text", "json", "jsonl"))(diff)


def diff(first: First, second: Second, options: Options) -> int:
    """Compare two dumps of one host (-v: every row)."""
    from crashkit.cli.inputs import warn
    from crashkit.diff import compare
    from crashkit.pipeline import PARTIAL, exit_code
    from crashkit.report.diff import build_diff, diff_lines
    from crashkit.report.escape import safe
    from crashkit.report.json_text import render_json
    from crashkit.report.text_diff import render_diff

    with ExitStack() as stack:
        output = stack.enter_context(
            closing(Output(options.output, [first, second], options.color))
        )
        a = stack.enter_context(_open(first, options))
        b = stack.enter_context(_open(second, options))
        crashes = (a, b)
        difference = compare(a, b)
        document = build_diff(a, b, difference)
        if is_same(first, second) and not options.quiet:
            complain(f"warning: {safe(first)} and {safe(second)} are the same file")
        for crash in crashes:
            warn(crash, options)
        codes = {exit_code(crash) for crash in crashes}
        if difference.is_partial:
            codes.add(PARTIAL)
        if options.output_format == "jsonl":
            output.stream(diff_lines(document))
        elif options.output_format == "json":
            output.write(render_json(document))
        else:
            output.write(render_diff(document, options.verbose))
    return next(code for code in _ORDER if code in codes)


def _open(path: Path, options: Options) -> Crash:
    # The sentence must say which of the two it is about.
    from crashkit.cli.inputs import open_crash

    try:
        return open_crash(path, _of_this_build(path, options))
    except TargetError as error:
        if str(path) in str(error):
            raise
        raise TargetError(f"{path}: {error}") from error


def _of_this_build(path: Path, options: Options) -> Options:
    # Two kernels, two vmlinux files: each is of the dump that takes it.
    from crashkit.cli.inputs import open_crash

    kernels = [file for file in options.symbols or [] if ".ko" not in file.suffixes]
    if len(kernels) < 2:
        return options
    modules = [file for file in options.symbols or [] if file not in kernels]
    for kernel in kernels:
        try:
            open_crash(path, replace(options, symbols=[kernel], types="dwarf")).close()
        except SymbolsError:
            continue
        return replace(options, symbols=[kernel, *modules])
    return options
