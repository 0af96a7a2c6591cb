"""What is said of a thing that is not there."""

from __future__ import annotations

from crashkit.errors import Unavailable

NO_LINE = "no such line"
"""What a missing line of VMCOREINFO is said to be."""


def in_words(missing: Unavailable) -> str:
    """Say why something is missing, without what libraries say of a page.

    That is long, and begins with the page's address; and a line that is missing has a name.
    """
    if missing.detail == NO_LINE:
        return f"{missing.what}: {missing.detail}"
    address, colon, _words = missing.detail.partition(": ")
    if colon and address.startswith("0x"):
        return f"nothing can be read at {address}"
    return missing.detail
