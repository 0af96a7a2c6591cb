"""The command line."""

from __future__ import annotations

import gc
import os


def main() -> None:
    """Run ``crashkit``."""
    # Opening a dump would load drgn's plugins: 80 ms, and a site's finders behind our back.
    os.environ.setdefault("DRGN_DISABLE_PLUGINS", "*")
    # One short run that keeps what it makes: collecting costs 4 % and frees next to nothing.
    gc.set_threshold(200_000, 20, 20)
    from crashkit.cli import code, conncount, conntrack, doctor, skb
    from crashkit.cli.app import app

    for more in (code, conntrack, conncount, doctor, skb):
        more.register()
    app(prog_name="crashkit")
