"""The command line."""

from __future__ import annotations

from typing import NoReturn

from crashkit.cli.startup import leave, prepare


def main() -> NoReturn:
    """Run ``crashkit``."""
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
    try:
        app(prog_name="crashkit")
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        leave(end.code)
    leave(0)
