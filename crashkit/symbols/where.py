"""Where the debug info of a kernel is to be had: packages and debuginfod servers.

Package names are those of the distributions' archives; which distribution a kernel is of is
told from its release and its version banner.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from crashkit.value import facts

_BUILD_ID = re.compile(r"[0-9a-f]{16,128}\Z", re.ASCII)
_RELEASE = re.compile(r"[\w.+~:-]{1,128}\Z", re.ASCII)
FEDERATED = "https://debuginfod.elfutils.org"
"""The server of elfutils, which asks those of the distributions."""


@facts
class Distribution:
    """Whose kernel it is, and what its debug info is called there."""

    name: str
    package: str
    """With ``{release}``."""
    command: str
    """Installs it; with ``{package}`` and ``{release}``."""
    server: str | None
    """Its debuginfod."""


_RPM = "kernel-debuginfo-{release}"
_DNF = "dnf debuginfo-install kernel-{release}"
_RULES: tuple[tuple[str, Distribution], ...] = (
    (
        r"Ubuntu",
        Distribution(
            name="Ubuntu",
            package="linux-image-unsigned-{release}-dbgsym",
            command="apt install {package}   (from ddebs.ubuntu.com)",
            server="https://debuginfod.ubuntu.com",
        ),
    ),
    (
        r"Debian|-(?:cloud-|rt-)?(?:amd64|arm64)(?:\s|$)",
        Distribution(
            name="Debian",
            package="linux-image-{release}-dbg",
            command="apt install {package}   (old builds: snapshot.debian.org)",
            server="https://debuginfod.debian.net",
        ),
    ),
    (
        r"\.fc\d+\.",
        Distribution(
            name="Fedora",
            package=_RPM,
            command=_DNF,
            server="https://debuginfod.fedoraproject.org",
        ),
    ),
    (
        r"\.el\d\w*uek",
        Distribution(
            name="Oracle Linux (UEK)",
            package="kernel-uek-debuginfo-{release}",
            command="yum install {package}   (from oss.oracle.com/el*/debuginfo)",
            server=None,
        ),
    ),
    (
        r"\.el\d",
        Distribution(
            name="RHEL or a rebuild of it",
            package=_RPM,
            command="debuginfo-install kernel-{release}",
            server="https://debuginfod.centos.org",
        ),
    ),
    (
        r"\.amzn\d",
        Distribution(
            name="Amazon Linux", package=_RPM, command="debuginfo-install kernel-{release}",
            server=None,
        ),
    ),
    (
        r"-default(?:\s|$)|SUSE",
        Distribution(
            name="SUSE",
            package="kernel-default-debuginfo",
            command="zypper install {package}   (the version of {release})",
            server="https://debuginfod.opensuse.org",
        ),
    ),
    (
        r"-arch\d|archlinux",
        Distribution(
            name="Arch Linux",
            package="linux",
            command="build the package with options=(debug)",
            server="https://debuginfod.archlinux.org",
        ),
    ),
)  # fmt: skip


@facts
class Offer:
    """How to get one debug file."""

    distribution: str | None
    """None: not one that is known here."""
    package: str | None
    command: str | None
    urls: tuple[str, ...]
    """Where debuginfod servers have it, by build ID."""


def distribution_of(release: str | None, version: str | None) -> Distribution | None:
    """Tell whose kernel it is; None when nothing in the names says so.

    :param version: ``uname -v``, e.g. ``#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2``
    """
    text = f"{release or ''} {version or ''}"
    return next((dist for pattern, dist in _RULES if re.search(pattern, text)), None)


def offer(
    release: str | None,
    version: str | None,
    build_id: str | None,
    environment: Mapping[str, str] | None = None,
) -> Offer:
    """Say how the debug info of a kernel is to be had.

    :param environment: where ``DEBUGINFOD_URLS`` is looked up; the process's by default
    """
    whose = distribution_of(release, version)
    package = command = None
    if whose is not None and release is not None and _RELEASE.match(release):
        package = whose.package.format(release=release)
        command = whose.command.format(package=package, release=release)
    return Offer(
        distribution=whose.name if whose else None,
        package=package,
        command=command,
        urls=tuple(debuginfo_urls(build_id, servers(whose, environment))),
    )


def servers(
    whose: Distribution | None, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """List the debuginfod servers to ask: ``DEBUGINFOD_URLS``, else the distribution's."""
    given = (os.environ if environment is None else environment).get("DEBUGINFOD_URLS", "")
    named = [url.rstrip("/") for url in given.split() if url.startswith(("http://", "https://"))]
    if named:
        return tuple(named)
    return (*([whose.server] if whose is not None and whose.server else ()), FEDERATED)


def debuginfo_urls(build_id: str | None, from_servers: tuple[str, ...]) -> list[str]:
    """Addresses of a debug file (debuginfod(8), "Webapi"); none without a build ID."""
    if build_id is None or not _BUILD_ID.match(build_id):
        return []
    return [f"{server}/buildid/{build_id}/debuginfo" for server in from_servers]
