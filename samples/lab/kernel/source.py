"""Debian's kernel source package, unpacked once into the lab's cache.

The tree stays as Debian ships it: whoever changes a file copies it first.
"""

import gzip
import re
import shutil
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

from driver.archive import Archive, Package, cache_folder
from driver.errors import run

#: Seconds that unpacking may take.
UNPACK_S = 1200.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """An unpacked kernel source package."""

    #: The kernel source tree.
    tree: Path
    #: Version of the Debian package, such as ``6.1.192-2``.
    version: str
    #: Date of the package's latest changelog entry, in UTC, as ``date`` prints it.
    date: str


def fetch_source(series: str = "6.1") -> Source:
    """Return the newest source package of *series*, downloaded if the cache does not have it."""
    package = Archive(cache_folder()).unpack(f"linux-source-{series}")
    home = cache_folder() / "source" / f"{package.name}_{package.version}"
    if not (home / "complete").exists():
        _unpack(package, home)
    return Source(
        tree=home / package.name,
        version=package.version,
        date=_changelog_date(package.root / "usr/share/doc" / package.name),
    )


def _unpack(package: Package, home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    tarball = package.root / "usr/src" / f"{package.name}.tar.xz"
    run(["tar", "-xf", tarball, "-C", home], timeout=UNPACK_S)
    (home / "complete").touch()


def _changelog_date(folder: Path) -> str:
    with gzip.open(folder / "changelog.Debian.gz", "rt", encoding="utf-8") as lines:
        trailer = next(line for line in lines if line.startswith(" -- "))
    stamp = parsedate_to_datetime(re.split(r">\s+", trailer, maxsplit=1)[1].strip())
    return stamp.astimezone(UTC).strftime("%a %b %e %H:%M:%S UTC %Y")
