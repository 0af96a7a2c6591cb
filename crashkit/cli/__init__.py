"""The command line."""

from __future__ import annotations

import os


def main() -> None:
    """Run ``crashkit``."""
    # Opening a dump would load drgn's plugins: 80 ms, and a site's finders behind our back.
    os.environ.setdefault("DRGN_DISABLE_PLUGINS", "*")
    from crashkit.cli.app import app

    app(prog_name="crashkit")
