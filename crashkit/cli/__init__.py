"""The command line."""

from __future__ import annotations

from crashkit.cli.startup import prepare


def main() -> None:
    """Run ``crashkit``."""
    prepare()
    from crashkit.cli import code, conncount, conntrack, doctor, mkvmlinux, oops, skb
    from crashkit.cli.app import app

    for more in (code, conntrack, conncount, doctor, mkvmlinux, oops, skb):
        more.register()
    app(prog_name="crashkit")
