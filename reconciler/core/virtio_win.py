"""What a virtio-win ISO or folder holds: its version, its drivers and the guest agent. Pure.

Made from the names of its files, as virtio-win's own packaging lays them out: on the ISO
`viostor/2k16/amd64/viostor.inf`, in the folder of the RPM the same below `drivers/by-driver`.
Letter case is not certain, on the ISO as in the folder.
"""

from __future__ import annotations

import json
import re
from typing import Callable, Dict, Iterable, Iterator, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, regex, replace

UPSTREAM, REDHAT = "0.1", "1.9"
"""The lines of versions: Fedora's builds, and those that RHEL and Rocky package."""

FOLDER = "/usr/share/virtio-win"
"""Where the RPM puts its ISOs and drivers."""

NETWORK_DRIVER = "netkvm"

_NAME = regex(r"virtio-win(?:-prewhql)?[-_](\d+\.\d+)[.-](\d+)", re.IGNORECASE)
_DRIVER = regex(
    r"(?:.*/)?(?:(viostor|vioscsi|netkvm)/([^/]+)/(x86|i386|amd64|arm64)/\1\.inf"
    r"|by-os/(x86|i386|amd64|arm64)/([^/]+)/(viostor|vioscsi|netkvm)\.inf)"
)
# Names that the agent's installers have had; virt-v2v looks for the same.
_AGENTS: Mapping[str, str] = {
    "qemu-ga-x86_64.msi": "amd64",
    "qemu-ga-x64.msi": "amd64",
    "rhev-qga64.msi": "amd64",
    "qemu-ga-i386.msi": "x86",
    "qemu-ga-x86.msi": "x86",
    "rhev-qga.msi": "x86",
}
_ARCHES: Mapping[str, str] = {
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "x86": "x86",
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}
_DRIVER_VERSION = regex(r"^\s*DriverVer\s*=\s*[\d/]+\s*,\s*([\d.]+)", re.IGNORECASE | re.MULTILINE)
_BUILD = 100  # the last number of a driver's version is its build times this
_CERTIFICATE = regex(r"(?:.*/)?cert/virtio_win_red_hat_ca\.cer")  # only Fedora's package has it


@frozen
class DriverVersion:
    """A version of virtio-win: `line` is 0.1 (Fedora) or 1.9 (RHEL, Rocky), `build` the rest."""

    line: str
    build: int

    def __str__(self) -> str:
        """Write it as the package does."""
        return f"{self.line}.{self.build}"


def parse_version(text: str) -> Optional[DriverVersion]:
    """Return the version that a label or the name of a file has: `virtio-win-0.1.173.iso`."""
    found = _NAME.search(text)
    return None if found is None else DriverVersion(found[1], int(found[2]))


def is_medium_name(name: str) -> bool:
    """Whether a file or volume of this name may be a virtio-win ISO."""
    lower = name.rpartition("/")[2].lower()
    return lower.startswith("virtio-win") and lower.endswith(".iso")


@frozen
class DriverFile:
    """One driver for one release of Windows: `viostor` in `2k16` for `amd64`.

    `path` is the INF's, relative to the medium. `build` is the build that made it, which is older
    than the medium for old releases of Windows; None if it is not known.
    """

    driver: str
    folder: str
    arch: str
    path: str
    build: Optional[int] = None


@frozen
class DriverMedium:
    """A virtio-win ISO, or the folder of its RPM.

    `where` is what it is called in messages, a path of the host or POOL/VOLUME; `path` is its path
    on the host. `version` is None if nothing says it. `agents` maps an architecture to the
    installer of the guest agent.
    """

    where: str
    path: str
    is_folder: bool
    version: Optional[DriverVersion]
    drivers: Tuple[DriverFile, ...]
    agents: Mapping[str, str]

    def __str__(self) -> str:
        """Say which one it is."""
        name = f"virtio-win {self.version}" if self.version is not None else "virtio-win"
        return f"{self.where} ({name})"

    def find_driver(
        self, driver: str, folder: str, arch: Optional[str] = None
    ) -> Optional[DriverFile]:
        """Return the driver for a release; without an architecture the 64-bit one is preferred.

        `arch` may be as a guest agent says it (`x86_64`).
        """
        wanted = [_ARCHES.get(arch.lower(), arch)] if arch else ["amd64", "x86"]
        for name in wanted:
            for file in self.drivers:
                if (file.driver, file.folder.lower(), file.arch) == (driver, folder.lower(), name):
                    return file
        return None

    def find_agent(self, arch: Optional[str] = None) -> Optional[str]:
        """Return the path of the guest agent's installer on the medium."""
        return self.agents.get(_ARCHES.get((arch or "amd64").lower(), ""))


@frozen
class DriverMedia:
    """The media of a host that were found; `unseen` says of others why they could not be read.

    `place` is the only one that was searched; empty if all usual ones were.
    """

    media: Tuple[DriverMedium, ...] = ()
    unseen: Tuple[str, ...] = ()
    place: str = ""


def read_medium(
    where: str,
    path: str,
    label: Optional[str],
    names: Iterable[str],
    read: Callable[[str], bytes],
) -> Optional[DriverMedium]:
    """Understand a medium; None if it holds no driver of virtio-win.

    `names` are the paths of its files, relative to it; `read` returns what is in one. `label` is
    that of the ISO's volume, None for a folder.
    """
    files = tuple(names)
    found = sorted(_find_drivers(files), key=lambda file: (file.path.count("by-os"), file.path))
    if not found:
        return None
    each = {(file.driver, file.folder.lower(), file.arch): file for file in reversed(found)}
    known = sorted(each.values(), key=lambda file: file.path)
    builds = _read_builds(files, known, read)
    drivers = tuple(replace(file, build=builds.get(file.path.lower())) for file in known)
    agents = {
        arch: name
        for name in sorted(files, reverse=True)
        for arch in [_AGENTS.get(name.rpartition("/")[2].lower())]
        if arch is not None
    }
    version = _find_version(label or "", path, files, drivers)
    return DriverMedium(
        where=where,
        path=path,
        is_folder=label is None,
        version=version,
        drivers=drivers,
        agents=agents,
    )


def _find_drivers(names: Iterable[str]) -> Iterator[DriverFile]:
    for name in names:
        found = _DRIVER.fullmatch(name.lower())
        if found is None:
            continue
        driver, lower, arch = (
            (found[1], found[2], found[3]) if found[1] else (found[6], found[5], found[4])
        )
        at = name.lower().rindex(f"/{lower}/") + 1
        folder = name[at : at + len(lower)]  # as it is written
        yield DriverFile(driver, folder, _ARCHES[arch], name)


def _find_version(
    label: str, path: str, names: Tuple[str, ...], drivers: Tuple[DriverFile, ...]
) -> Optional[DriverVersion]:
    """Return the version: files are renamed, labels are not, so the label comes first.

    A folder is as old as the ISO that the RPM puts beside it; without one its newest driver tells,
    if it is Fedora's.
    """
    beside = sorted(name for name in names if is_medium_name(name))
    for text in (label, *beside, path):
        version = parse_version(text)
        if version is not None:
            return version
    builds = [driver.build for driver in drivers if driver.build is not None]
    if builds and any(_CERTIFICATE.fullmatch(name.lower()) for name in names):
        return DriverVersion(UPSTREAM, max(builds))
    return None


def _read_builds(
    names: Tuple[str, ...], drivers: Iterable[DriverFile], read: Callable[[str], bytes]
) -> Mapping[str, Optional[int]]:
    """Return the build of each INF, from the list that ISOs have since 0.1.173 or the INF."""
    lists = [name for name in names if name.lower().endswith("data/info.json")]
    builds: Dict[str, Optional[int]] = {}
    for name in lists:
        builds.update(_parse_list(read(name)))
    for driver in drivers:
        if driver.path.lower() not in builds:
            builds[driver.path.lower()] = _parse_inf(read(driver.path))
    return builds


def _parse_list(content: bytes) -> Mapping[str, Optional[int]]:
    try:
        entries = json.loads(content.decode("utf-8"))["drivers"]
        return {
            str(entry["inf_path"]).lower(): _find_build(str(entry["driver_version"]))
            for entry in entries
        }
    except (ValueError, KeyError, TypeError):
        return {}


def _parse_inf(content: bytes) -> Optional[int]:
    text = content.replace(b"\0", b"").decode("latin-1")  # some are UTF-16
    found = _DRIVER_VERSION.search(text)
    return None if found is None else _find_build(found[1])


def _find_build(version: str) -> Optional[int]:
    """Return 172 of `06/07/2019,61.77.104.17200`."""
    last = version.rpartition(".")[2].strip()
    return int(last) // _BUILD if last.isdigit() else None
