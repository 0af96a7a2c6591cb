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
_FLAVOUR = re.compile(r"(?P<build>.+)[+.](?P<flavour>(?:rt|64k)(?:-debug)?|debug)")
"""Of Red Hat's kernels: ``5.14.0-427.el9.x86_64+rt``, ``3.10.0-1160.el7.x86_64.debug``."""
_OLD_REALTIME = re.compile(r"\.rt\d[\d.]*\.el[78]")
_AMAZON = re.compile(r"(6\.(?:[2-9]|\d\d)|[7-9]\.\d+)\.\d.*\.amzn2023\.")
"""Amazon Linux 2023 names the packages of kernels after its first, 6.1, by their version."""
FEDERATED = "https://debuginfod.elfutils.org"
"""The server of elfutils, which asks those of the distributions."""


@facts
class Distribution:
    """Whose kernel it is, and what its debug info is called there."""

    name: str
    package: str
    """With ``{release}``; of RPMs ``{kernel}``, the package, and ``{build}``, without flavour."""
    command: str
    """Installs it; with ``{package}`` and the same."""
    server: str | None
    """Its debuginfod."""


_RPM = "{kernel}-debuginfo-{build}"
_DNF = "dnf debuginfo-install {kernel}-{build}"
_UBUNTU = r"-\d+-(?:generic|lowlatency|aws|azure|gcp|gke|ibm|kvm|nvidia|oem|oracle|realtime)"
_DEBIAN = r"-(?:cloud-|rt-)?(?:amd64|arm64|armmp|686(?:-pae)?|powerpc64le|riscv64|s390x)"
_SUSE = r"-(?:default|preempt|kvmsmall)|-\d{6}\.[\d.]+-(?:azure|rt|64kb)"
_RULES: tuple[tuple[str, Distribution], ...] = (
    (
        r"-raspi(?:\s|$)",  # not signed, so its package is not called unsigned
        Distribution(
            name="Ubuntu",
            package="linux-image-{release}-dbgsym",
            command="apt install {package}   (from ddebs.ubuntu.com)",
            server="https://debuginfod.ubuntu.com",
        ),
    ),
    (
        rf"Ubuntu|{_UBUNTU}(?:\s|$)",
        Distribution(
            name="Ubuntu",
            package="linux-image-unsigned-{release}-dbgsym",
            command="apt install {package}   (from ddebs.ubuntu.com)",
            server="https://debuginfod.ubuntu.com",
        ),
    ),
    (
        rf"Debian|{_DEBIAN}(?:\s|$)",
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
            command="debuginfo-install {kernel}-{build}",
            server="https://debuginfod.centos.org",
        ),
    ),
    (
        r"\.amzn\d",
        Distribution(
            name="Amazon Linux",
            package=_RPM,
            command="debuginfo-install {kernel}-{build}",
            server=None,
        ),
    ),
    (
        r"\.oe\d",
        Distribution(name="openEuler", package=_RPM, command="dnf install {package}", server=None),
    ),
    (
        rf"(?:{_SUSE})(?:\s|$)|SUSE",
        Distribution(
            name="SUSE",
            package="{kernel}-debuginfo",
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
        kernel, build = _rpm(whose, release)
        package = whose.package.format(release=release, kernel=kernel, build=build)
        command = whose.command.format(package=package, release=release, kernel=kernel, build=build)
    return Offer(
        distribution=whose.name if whose else None,
        package=package,
        command=command,
        urls=tuple(debuginfo_urls(build_id, servers(whose, environment))),
    )


def _rpm(whose: Distribution, release: str) -> tuple[str, str]:
    # The package a kernel is of, and the version of that package.
    if whose.name == "SUSE":
        build, dash, flavour = release.rpartition("-")
        return (f"kernel-{flavour}", build) if dash else ("kernel-default", release)
    if whose.name == "Amazon Linux" and (newer := _AMAZON.match(release)):
        return f"kernel{newer[1]}", release
    flavoured = _FLAVOUR.fullmatch(release)
    if flavoured is not None:
        return f"kernel-{flavoured['flavour']}", flavoured["build"]
    return ("kernel-rt" if _OLD_REALTIME.search(release) else "kernel"), release


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
