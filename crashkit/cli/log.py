"""The command ``log``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain
from crashkit.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARTIAL = 5


def register() -> None:
    """Add the command to the application."""
    command(app, "log")(log)


def log(vmcore: Vmcore, options: Options) -> int:
    """Print the kernel log."""
    from crashkit.report.json_text import render_json
    from crashkit.report.log import build_log, render_log

    with closing(Output(options.output, [vmcore], "never")) as output:
        text, code = _quickly(vmcore, options) or _read(vmcore, options)
        document = build_log(text)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_log(document))
        return code


def _quickly(path: Path, options: Options) -> tuple[str, int] | None:
    # VMCOREINFO leads to the log: nothing else of the dump need be opened, neither names nor types.
    from crashkit.crash.log_source import log_without_types
    from crashkit.target import identify

    if options.symbols or options.debug_directory or options.download or options.types != "auto":
        return None
    target = identify(path)
    try:
        text, limits = log_without_types(target)
    except Unavailable:
        return None
    _warn([*target.warnings, *(limit.what for limit in limits)], options)
    return text, _PARTIAL if target.truncated or target.missing_bytes or limits else 0


def _read(path: Path, options: Options) -> tuple[str, int]:
    from crashkit.cli.inputs import open_crash, warn
    from crashkit.pipeline import exit_code

    with open_crash(path, options) as crash:
        warn(crash, options)
        text = crash.log
        _warn((limit.what for limit in crash.limits), options)
        return text, exit_code(crash)


def _warn(sentences: Iterable[str], options: Options) -> None:
    from crashkit.report.escape import safe

    if not options.quiet:
        for sentence in sentences:
            complain(f"warning: {safe(sentence)}")
