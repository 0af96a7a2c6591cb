"""The command line."""

from __future__ import annotations

from typing import NoReturn

from crashkit.cli.startup import leave, open_streams, prepare

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run ``crashkit``."""
    open_streams()
    try:
        _run()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        leave(end.code)
    except KeyboardInterrupt:  # before a command began, or after it ended
        from crashkit.cli.output import complain

        complain("interrupted")
        leave(_INTERRUPTED)
    leave(0)


def _run() -> None:
    prepare()
    from crashkit.cli import (
        code,
        conncount,
        conntrack,
        diff,
        doctor,
        log,
        mkvmlinux,
        oops,
        recipes,
        skb,
    )
    from crashkit.cli.app import app

    for more in (code, conntrack, conncount, diff, doctor, log, mkvmlinux, oops, recipes, skb):
        more.register()
    app(prog_name="crashkit")
