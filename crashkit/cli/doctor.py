"""The command ``doctor``."""

from __future__ import annotations

from contextlib import closing

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output


def register() -> None:
    """Add the command to the application."""
    command(app, "doctor")(doctor)


def doctor(vmcore: Vmcore, options: Options) -> int:
    """Say what a dump holds, what debug info was found or is missing, what can be answered."""
    from crashkit.cli.inputs import open_crash
    from crashkit.doctor import examine, left_out
    from crashkit.pipeline import exit_code
    from crashkit.report import build_doctor, render_doctor, render_json

    with closing(Output(options.output, [vmcore], options.color)) as output:
        with open_crash(vmcore, options) as crash:
            examined = examine(crash)
            document = build_doctor(crash, examined, left_out(crash.target.dump_level))
            code = exit_code(crash)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_doctor(document, options.verbose))
        return code
