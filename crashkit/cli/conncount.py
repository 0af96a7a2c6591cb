"""The command ``conncount``."""

from __future__ import annotations

from contextlib import closing

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output


def register() -> None:
    """Add the command to the application."""
    command(app, "conncount")(conncount)


def conncount(vmcore: Vmcore, options: Options) -> int:
    """Show connlimit: rules, lists of counted connections and what they cost (-v: every list)."""
    from crashkit.cli.inputs import open_dump, warn
    from crashkit.pipeline import exit_code
    from crashkit.report import build_conncount, render_conncount, render_json

    with closing(Output(options.output, [vmcore], options.color)) as output:
        with open_dump(vmcore, options, "no connection to be counted") as crash:
            document = build_conncount(crash)
            warn(crash, options)
            code = exit_code(crash)
        as_json = options.output_format == "json"
        text = render_json(document) if as_json else render_conncount(document, options.verbose)
        output.write(text)
        return code
