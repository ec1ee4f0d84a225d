"""What an operating system's libosinfo short id says about the guest.

Names only; nothing here knows a device, a manifest or libosinfo's database.
"""

from __future__ import annotations

import re
from functools import cache
from typing import List, Optional, Tuple

from reconciler.core.frozen import regex

# Also spellings that libosinfo does not know: what is meant for a Windows is guarded as one.
_WINDOWS = regex(
    r"(ms[-_ ]?)?win(\d|nt|xp|vista|me|dows|[-_ ]?s(erver|rv))|w2k|microsoft", re.IGNORECASE
)
_NEEDS_TPM = frozenset({"win11", "win2k25"})

# Short id, version, libosinfo's full id. Only families whose full ids follow their short ids
# without exception stand here: a wrong id is worse for other tools than none.
_FULL_IDS: Tuple[Tuple[str, str, str], ...] = (
    ("almalinux{}", r"(\d+(?:\.\d+)?)", "http://almalinux.org/almalinux/{}"),
    ("centos-stream{}", r"(\d+)", "http://centos.org/centos-stream/{}"),
    ("debian{}", r"(\d+)", "http://debian.org/debian/{}"),
    ("fedora{}", r"(\d+)", "http://fedoraproject.org/fedora/{}"),
    ("rhel{}", r"(\d+\.\d+)", "http://redhat.com/rhel/{}"),
    ("rocky{}", r"(\d+(?:\.\d+)?)", "http://rockylinux.org/rocky/{}"),
    ("ubuntu{}", r"(\d\d\.\d\d)", "http://ubuntu.com/ubuntu/{}"),
    ("win{}", r"(2k\d\d?r2|2k\d\d?|\d\d?)", "http://microsoft.com/win/{}"),
)


# libosinfo's short ids, family by family: a name, and the versions that follow it. Generous with
# versions, because new ones come every month.
_VERSION = r"\d+(?:\.\d+)*"
_FAMILIES: Tuple[Tuple[str, str], ...] = (
    ("almalinux", _VERSION),
    ("alpinelinux", rf"{_VERSION}|edge"),
    ("alt", rf"{_VERSION}|\.p\d+|linux{_VERSION}|\.sisyphus"),
    ("android-x86-", _VERSION),
    ("archlinux", ""),
    ("asianux", rf"{_VERSION}|-unknown"),
    ("caasp", rf"{_VERSION}|-unknown"),
    ("centos", rf"{_VERSION}|-stream\d+|-unknown"),
    ("circle", rf"{_VERSION}|-unknown"),
    ("cirros", rf"{_VERSION}"),
    ("clearlinux", ""),
    ("debian", rf"{_VERSION}|testing|sid|-unknown"),
    ("dragonflybsd", _VERSION),
    ("elementary", _VERSION),
    ("endless", r"eos\d+(?:\.\d+)?"),
    ("eos", r"\d+(?:\.\d+)?"),
    ("eurolinux", rf"{_VERSION}|-unknown"),
    ("fedora", rf"{_VERSION}|-rawhide|-eln|-coreos-\w+|-unknown"),
    ("freebsd", rf"{_VERSION}|-unknown"),
    ("freedos", _VERSION),
    ("freenix", ""),
    ("gentoo", ""),
    ("generic", ""),
    ("gnome", rf"-continuous-{_VERSION}|{_VERSION}"),
    ("guix", r"-hurd-latest|-latest|-.*"),
    ("haiku", r"nightly|r1\w*"),
    ("hyperbola", _VERSION),
    ("kaos", ""),
    ("linux", r"20\d\d|"),
    ("macosx", _VERSION),
    ("mageia", _VERSION),
    ("mandrake", _VERSION),
    ("mandriva", _VERSION),
    ("manjaro", ""),
    ("mbs", _VERSION),
    ("mes", _VERSION),
    ("miraclelinux", rf"{_VERSION}|-unknown"),
    ("msdos", _VERSION),
    ("netbsd", _VERSION),
    ("netware", r"\d"),
    ("nixos", rf"-{_VERSION}|-unstable|-unknown"),
    ("nobara", _VERSION),
    ("ol", rf"{_VERSION}|-unknown"),
    ("openbsd", _VERSION),
    ("openEuler", rf"{_VERSION}.*"),
    ("openindiana", r".*"),
    ("opensolaris", r".*"),
    ("opensuse", rf"{_VERSION}|tumbleweed|-unknown|-factory|-leap.*"),
    ("opensuseleap", rf"{_VERSION}"),
    ("popos", _VERSION),
    ("pureos", _VERSION),
    ("rhel", rf"{_VERSION}|-atomic-{_VERSION}|-unknown|\d+-unknown|-el\d+"),
    ("rhl", _VERSION),
    ("rocky", rf"{_VERSION}|-unknown"),
    ("scientificlinux", rf"{_VERSION}|-unknown"),
    ("silverblue", r"\d+|-rawhide|-unknown"),
    ("slackware", _VERSION),
    ("sle", rf"{_VERSION}(?:sp\d+)?|-unknown"),
    ("sled", rf"{_VERSION}(?:sp\d+)?"),
    ("slem", _VERSION),
    ("sles", rf"{_VERSION}(?:sp\d+)?|-unknown"),
    ("solaris", _VERSION),
    ("trisquel", _VERSION),
    ("ubuntu", rf"{_VERSION}|-lts-latest|-stable-latest|-devel"),
    ("unknown", ""),
    ("vmware_esxi_", r".*"),
    ("voidlinux", ""),
    ("win", r"1\.0|2\.0|2\.1|3\.1|95|98|me|nt3\.1|nt3\.5|nt3\.51|nt4\.0|xp|vista|7|8|8\.1|10|11|"
            r"2k|2k3|2k3r2|2k8|2k8r2|2k12|2k12r2|2k16|2k19|2k22|2k25|2k\d\d(?:r2)?|\d\d"),
)  # fmt: skip

# What is offered instead of a name that nobody knows: those that are in use.
_OFFERED = (
    "almalinux8", "almalinux9", "almalinux10", "alpinelinux3.21", "archlinux", "centos7",
    "centos-stream9", "centos-stream10", "debian11", "debian12", "debian13", "fedora41",
    "fedora42", "freebsd14.2", "generic", "linux2022", "netbsd10.0", "nixos-24.11", "ol8.10",
    "ol9.5", "openbsd7.6", "opensuse15.6", "opensusetumbleweed", "rhel7.9", "rhel8.10", "rhel9.5",
    "rhel10.0", "rocky8", "rocky9", "rocky10", "sles15sp6", "ubuntu20.04", "ubuntu22.04",
    "ubuntu24.04", "win7", "win8.1", "win10", "win11", "win2k8r2", "win2k12r2", "win2k16",
    "win2k19", "win2k22", "win2k25", "winxp",
)  # fmt: skip
_YEAR = regex(r"20(\d\d)")
GENERALIZE = (
    "run sysprep in it and record it in the template's `generalized`, like "
    '"sysprep /generalize /oobe, 2026-03-01"; clones must not share host name and SID'
)


def is_windows(os: Optional[str]) -> bool:
    """Whether the name is of a Windows, also in a spelling that libosinfo does not know."""
    return os is not None and _WINDOWS.match(os) is not None


@cache
def is_known(os: str) -> bool:
    """Whether libosinfo may know the short id.

    Only the versions of families that begin like it are compiled: all of them would take 9 ms.
    """
    return any(
        os.startswith(family) and re.fullmatch(versions, os[len(family) :]) is not None
        for family, versions in _FAMILIES
    )


def may_be_windows(os: Optional[str]) -> bool:
    """Whether the guest is a Windows, or nobody can tell because the name is not known."""
    return is_windows(os) or (os is not None and not is_known(os))


def find_nearest(os: str) -> Tuple[str, ...]:
    """Return the short ids nearest to a name, at most three, the nearest first."""
    text = _YEAR.sub(r"2k\1", os.lower()) if is_windows(os) else os.lower()
    offered = [name for name in _OFFERED if is_windows(name)] if is_windows(os) else list(_OFFERED)
    import difflib  # noqa: PLC0415 - start-up time

    return tuple(difflib.get_close_matches(text, offered, n=3, cutoff=0.4))


def describe_unknown(os: Optional[str]) -> str:
    """Return the warning about a name that is not known; an empty text where there is none."""
    if os is None or is_known(os):
        return ""
    nearest = find_nearest(os)
    hint = f"nearest: {', '.join(nearest)}" if nearest else "see `osinfo-query os`"
    return f"os: {os!r} is not a known operating system, so it is treated like Windows; {hint}"


def needs_tpm(os: Optional[str]) -> bool:
    """Whether the system does not install or run as supported without a TPM 2.0."""
    return os in _NEEDS_TPM


def full_id(os: Optional[str]) -> Optional[str]:
    """Return libosinfo's full id of a short id, or None where it cannot be told for certain."""
    return _translate(os or "", [(short, version, full) for short, version, full in _FULL_IDS])


def short_id(full: str) -> Optional[str]:
    """Return the short id of libosinfo's full id, or None where it cannot be told for certain."""
    return _translate(full, [(full, version, short) for short, version, full in _FULL_IDS])


def _translate(text: str, rows: List[Tuple[str, str, str]]) -> Optional[str]:
    for known, version, wanted in rows:
        found = re.fullmatch(re.escape(known).replace(r"\{\}", version), text)
        if found:
            return wanted.format(found.group(1))
    return None
