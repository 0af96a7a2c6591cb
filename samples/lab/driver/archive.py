"""Debian packages fetched and unpacked into a cache folder, by a private apt configuration.

The mirror is the one the system's apt uses. Nothing of the system is changed.
"""

import os
import re
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from driver.errors import run
from driver.lock import locked

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Suites to take a kernel, its headers and their tools from, by the name on the command line.
KERNEL_SUITES = {
    "bookworm": ("bookworm", "bookworm-updates", "bookworm-security"),
    "trixie": ("trixie", "trixie-updates", "trixie-security"),
    "trixie-backports": ("trixie-backports", "trixie", "trixie-updates", "trixie-security"),
    "forky": ("forky",),
    "sid": ("sid",),
    # Last: it has kernels of later suites, too.
    "bullseye": ("bullseye", "bullseye-updates", "bullseye-security"),
}
INDEX_AGE_S = 12 * 3600


def cache_folder() -> Path:
    """Where packages are kept: $CRASHKIT_LAB_CACHE, else ~/.cache/crashkit-lab."""
    chosen = os.environ.get("CRASHKIT_LAB_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "crashkit-lab"


def for_each_system_uri() -> Iterator[str]:
    """Yield the address of every archive in the system's apt configuration."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        for line in path.read_text().splitlines():
            if line.startswith(("URIs:", "deb ")):
                yield from re.findall(r"\bhttps?://\S+", line)


def mirror(name: str) -> str:
    """Address of the system's mirror of the archive *name*: debian or debian-security."""
    for uri in for_each_system_uri():
        if uri.rstrip("/").endswith(f"/{name}"):
            return uri
    return f"http://deb.debian.org/{name}"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package, unpacked."""

    #: Package name.
    name: str
    #: Package version.
    version: str
    #: Folder it is unpacked in.
    root: Path


@dataclass(frozen=True)
class Archive:
    """The Debian archive, through apt with lists and cache of its own."""

    #: Folder for apt's files and the unpacked packages.
    cache: Path
    #: The suites to take packages from.
    suites: tuple[str, ...] = KERNEL_SUITES["bookworm"]

    @property
    def _apt(self) -> Path:
        return self.cache / "apt" / self.suites[0]

    @cached_property
    def _options(self) -> list[str]:
        apt = self._apt
        for part in ("state/lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        sources = apt / "sources.list"
        sources.write_text("".join(_source_line(suite) for suite in self.suites))
        settings = {
            "Dir::State": apt / "state",
            "Dir::State::status": apt / "status",
            "Dir::Cache": apt / "cache",
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Bring the package lists up to date, if they are older than half a day."""
        stamp = self._apt / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < INDEX_AGE_S:
            return
        with locked(self._apt / "lock", wait=1800):
            run(["apt-get", *self._options, "-q", "update"], timeout=900)
            stamp.touch()

    def matching(self, pattern: str) -> list[tuple[str, str]]:
        """Name and version of each package whose whole name matches *pattern*, newest last."""
        self.update()
        found = self._cache("search", "--names-only", f"^{pattern}$")
        names = [line.split()[0] for line in found.splitlines()]
        if not names:
            return []
        policy = self._cache("policy", *names)
        candidates: list[tuple[str, str]] = re.findall(
            r"^(\S+):$.*?Candidate: (\S+)$", policy, re.MULTILINE | re.DOTALL
        )
        return sorted(candidates, key=lambda candidate: _numbers(candidate[1]))

    def _cache(self, *words: str) -> str:
        return run(["apt-cache", *self._options, *words])

    def depends(self, name: str) -> list[str]:
        """Names of the packages that *name* depends on directly."""
        text = self._cache("depends", "--important", name)
        return re.findall(r"Depends: ([^<\s]+)$", text, re.MULTILINE)

    def closure(self, *first: str, without: str = "$") -> list[str]:
        """Names of the packages *first* and of all they need, but for those matching *without*."""
        names = list(dict.fromkeys(first))
        for name in names:
            needed = [other for other in self.depends(name) if not re.match(without, other)]
            names += [other for other in dict.fromkeys(needed) if other not in names]
        return names

    def unpack_together(self, names: list[str], root: Path) -> None:
        """Download the packages *names* and unpack them all in *root*."""
        with locked(self._apt / "lock", wait=1800), tempfile.TemporaryDirectory() as folder:
            run(
                ["apt-get", *self._options, "-q", "download", *names],
                cwd=Path(folder),
                timeout=3600,
            )
            for file in sorted(Path(folder).glob("*.deb"), key=_links_first):
                run(["dpkg-deb", "-x", file, root], timeout=1200)

    def unpack(self, name: str) -> Package:
        """Download and unpack the package *name*, unless the cache already has it."""
        self.update()
        uri_line = run(["apt-get", *self._options, "download", "--print-uris", name])
        version = _version_of(uri_line)
        root = self.cache / "unpacked" / f"{name}_{version}"
        with locked(self._apt / "lock", wait=1800):
            if not root.is_dir():
                self._fetch(name, root)
        return Package(name=name, version=version, root=root)

    def _fetch(self, name: str, root: Path) -> None:
        folder = root.with_name(root.name + ".part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run(["apt-get", *self._options, "-q", "download", name], cwd=folder, timeout=3600)
        file = next(folder.glob("*.deb"))
        run(["dpkg-deb", "-x", file, folder], timeout=1200)
        file.unlink()
        folder.rename(root)


def _source_line(suite: str) -> str:
    name = "debian-security" if suite.endswith("-security") else "debian"
    return f"deb [arch=amd64 signed-by={KEYRING}] {mirror(name)} {suite} main\n"


# base-files brings /lib -> usr/lib and the like, which must come before what lies there.
def _links_first(file: Path) -> tuple[bool, str]:
    return (not file.name.startswith("base-files_"), file.name)


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)]


# A line reads: 'http://…/name_1.2-3_amd64.deb' name_1.2-3_amd64.deb 123 SHA256:…
def _version_of(uri_line: str) -> str:
    file = uri_line.split()[1]
    return urllib.parse.unquote(file.split("_")[1])
