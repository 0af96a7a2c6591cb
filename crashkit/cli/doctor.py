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
    from crashkit.cli.dead_end import Telling, open_or_what_is_left
    from crashkit.doctor import climb, examine, left_out
    from crashkit.pipeline import exit_code
    from crashkit.report import build_doctor, render_doctor, render_json

    with closing(Output(options.output, [vmcore], options.color)) as output:
        telling = Telling(options)
        with open_or_what_is_left(vmcore, options, None, telling) as (crash, failed):
            ladder = []
            for rung in climb(crash):
                telling.tell(rung)
                ladder.append(rung)
            examined = examine(crash)
            document = build_doctor(crash, examined, left_out(crash.target.dump_level), ladder)
            code = failed or exit_code(crash)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_doctor(document, options.verbose))
        return code
