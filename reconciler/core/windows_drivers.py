"""Which virtio-win drivers suit which release of Windows: the matrix, and the choice by it. Pure.

The matrix is `windows_drivers.json`, with a source for each cell; docs/windows-drivers.md is made
of it. Loaded only where a manifest is for a Windows.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.guest import STORAGE_DRIVERS
from reconciler.core.virtio_win import (
    FOLDER,
    DriverFile,
    DriverMedium,
    DriverVersion,
    parse_version,
)

_FILE = Path(__file__).with_name("windows_drivers.json")


class Rating(Enum):
    """How the drivers of a version do in a release of Windows."""

    WORKS = "works"
    UPDATE = "update"  # only with an update of Windows, for SHA-2 signatures
    REPORTED = "reported"  # people report problems
    UNSIGNED = "unsigned"
    BROKEN = "broken"
    MISSING = "missing"

    @property
    def is_bad(self) -> bool:
        """Whether the drivers cannot work there."""
        return self in (Rating.UNSIGNED, Rating.BROKEN, Rating.MISSING)


@frozen
class MatrixFact:
    """One fact about a release of Windows, with the address that it comes from."""

    value: str
    text: str
    source: str


@frozen
class RatedVersions:
    """How a range of versions does. `line` is empty for all versions; both ends are included."""

    rating: Rating
    text: str
    source: str
    line: str = ""
    first: Optional[int] = None
    last: Optional[int] = None

    def covers(self, version: DriverVersion) -> bool:
        """Whether a version is in the range."""
        return (
            self.line in ("", version.line)
            and (self.first is None or self.first <= version.build)
            and (self.last is None or version.build <= self.last)
        )

    @property
    def range(self) -> str:
        """The range as people write it."""
        if not self.line:
            return "all"
        if self.first is None and self.last is None:
            return f"{self.line}.*"
        if self.first is None:
            return f"up to {self.line}.{self.last}"
        if self.last is None:
            return f"{self.line}.{self.first} and later"
        if self.first == self.last:
            return f"{self.line}.{self.first}"
        return f"{self.line}.{self.first} to {self.line}.{self.last}"


@frozen
class WindowsRelease:
    """One row of the matrix.

    `folder` is what virtio-win calls the release, `arches` the architectures that it has drivers
    for, `storage` its storage drivers. `update` names what a release needs for SHA-2 signatures,
    `take` the version to take (`0.1.173-9`, with the release of the package), `boots_from` the
    buses that it has drivers of its own for, `card` a network card of which that is so. `pnputil`
    is the form of that program's arguments, empty where Windows has no such program. `uefi` is yes,
    needed, limited or no; `tpm` is set if one is needed.
    """

    os: str
    name: str
    folder: str
    arches: Tuple[str, ...]
    storage: Tuple[str, ...]
    install: MatrixFact
    pnputil: MatrixFact
    update: MatrixFact
    chipset: MatrixFact
    boots_from: MatrixFact
    card: MatrixFact
    uefi: MatrixFact
    take: MatrixFact
    versions: Tuple[RatedVersions, ...]
    secure_boot: Tuple[RatedVersions, ...]
    tpm: Optional[MatrixFact] = None

    def rate(self, version: Optional[DriverVersion]) -> Optional[RatedVersions]:
        """Return how a version does; None if nothing is known of it."""
        return _find_range(self.versions, version)

    def rate_secure_boot(self, version: Optional[DriverVersion]) -> Optional[RatedVersions]:
        """Return how a version does with Secure Boot; None if nothing is known of it."""
        return _find_range(self.secure_boot, version)

    def list_arguments(self, inf: str) -> Tuple[str, ...]:
        """Return the arguments with which pnputil installs the driver of an INF."""
        if self.pnputil.value == "/add-driver":
            return (self.pnputil.value, inf, "/install")
        return (*self.pnputil.value.split(), inf)

    @property
    def has_secure_boot(self) -> bool:
        """Whether Secure Boot can work with any version."""
        return not any(rated.rating.is_bad and not rated.line for rated in self.secure_boot)


def _find_range(
    ranges: Sequence[RatedVersions], version: Optional[DriverVersion]
) -> Optional[RatedVersions]:
    for rated in ranges:
        if not rated.line or (version is not None and rated.covers(version)):
            return rated
    return None


@frozen
class DriverMatrix:
    """The whole matrix. `gaps` maps a Windows without a row to the reason why."""

    checked: str
    archive: str
    releases: Mapping[str, WindowsRelease]
    same: Mapping[str, MatrixFact]
    gaps: Mapping[str, MatrixFact]


@cache
def load_matrix() -> DriverMatrix:
    """Read the matrix."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    sources: Mapping[str, str] = data["sources"]

    def build_fact(cell: Mapping[str, Any]) -> MatrixFact:
        return MatrixFact(cell.get("value", ""), cell["text"], sources[cell["source"]])

    def build_range(cell: Mapping[str, Any]) -> RatedVersions:
        rest = {name: cell[name] for name in ("line", "first", "last") if name in cell}
        rating = Rating(cell["rating"])
        return RatedVersions(rating, cell["text"], sources[cell["source"]], **rest)

    def build_release(os: str, row: Mapping[str, Any]) -> WindowsRelease:
        return WindowsRelease(
            os=os,
            name=row["name"],
            folder=row["folder"],
            arches=tuple(row["arches"]),
            storage=tuple(row["storage"]),
            install=build_fact(row["install"]),
            pnputil=build_fact(row["pnputil"]),
            update=build_fact(row["update"]),
            chipset=build_fact(row["chipset"]),
            boots_from=build_fact(row["boots_from"]),
            card=build_fact(row["card"]),
            uefi=build_fact(row["uefi"]),
            take=build_fact(row["take"]),
            versions=tuple(map(build_range, row["versions"])),
            secure_boot=tuple(map(build_range, row["secure_boot"])),
            tpm=build_fact(row["tpm"]) if "tpm" in row else None,
        )

    return DriverMatrix(
        checked=data["checked"],
        archive=data["archive"],
        releases={os: build_release(os, row) for os, row in data["releases"].items()},
        same={os: build_fact(cell) for os, cell in data["same"].items()},
        gaps={os: build_fact(cell) for os, cell in data["gaps"].items()},
    )


def find_release(os: Optional[str]) -> Optional[WindowsRelease]:
    """Return the row for libosinfo's short id; None for what is in no row."""
    matrix = load_matrix()
    same = matrix.same.get(os or "")
    return matrix.releases.get(same.value if same is not None else os or "")


def find_archive(take: str) -> str:
    """Return the address of a version in Fedora's archive, of `0.1.173-9`."""
    return f"{load_matrix().archive}virtio-win-{take}/"


def advise_version(release: WindowsRelease) -> str:
    """Say which version to take, from where, and where to put it."""
    version = release.take.value.partition("-")[0]
    return (
        f"take virtio-win {version}: download {find_archive(release.take.value)}"
        f"virtio-win-{version}.iso to {FOLDER}/ (or set spec.virtioWin of the Host)"
    )


@frozen
class DriverChoice:
    """Which medium and driver a guest gets for a bus.

    `problem` says why none of the media that are there suits it, and what to do; it is empty if one
    does, and if there is none. `notes` are what a person should know of the choice.
    """

    medium: Optional[DriverMedium] = None
    driver: Optional[DriverFile] = None
    agent: Optional[str] = None
    rated: Optional[RatedVersions] = None
    problem: str = ""
    notes: Tuple[str, ...] = ()


def choose_drivers(
    os: Optional[str],
    driver: str,
    media: Sequence[DriverMedium],
    *,
    secure_boot: bool = False,
    arch: Optional[str] = None,
) -> DriverChoice:
    """Choose the medium that suits a Windows best, and find a driver on it.

    `driver` is `viostor`, `vioscsi` or `netkvm` (see `STORAGE_DRIVERS`). The best is one that
    works, then one that needs an update, then one with reported problems or of which nothing is
    known; of equals the newest.
    """
    release = find_release(os)
    if release is None:
        gap = load_matrix().gaps.get(os or "")
        return DriverChoice(problem="" if gap is None else f"{os}: {gap.text} ({gap.source})")
    if driver in STORAGE_DRIVERS.values() and driver not in release.storage:
        bus = next(bus for bus, name in STORAGE_DRIVERS.items() if name == driver)
        return DriverChoice(
            problem=f"no virtio-win has the driver {driver} for {release.name}, so no disk of it "
            f"can be on {bus}; use virtio"
        )
    choices = [_judge(release, driver, medium, arch, secure_boot=secure_boot) for medium in media]
    good = [choice for choice in choices if not choice.problem]
    if good:
        return min(good, key=_rank)
    if not choices:
        return DriverChoice()
    reasons = "; ".join(choice.problem for choice in choices)
    return DriverChoice(problem=f"{reasons}; {advise_version(release)}")


_ORDER = (Rating.WORKS, Rating.UPDATE, Rating.REPORTED)


def _rank(choice: DriverChoice) -> Tuple[int, int]:
    rating = choice.rated.rating if choice.rated is not None else Rating.REPORTED
    version = choice.medium.version if choice.medium is not None else None
    return _ORDER.index(rating), -version.build if version is not None else 0


def _judge(
    release: WindowsRelease,
    driver: str,
    medium: DriverMedium,
    arch: Optional[str],
    *,
    secure_boot: bool,
) -> DriverChoice:
    rated = release.rate(medium.version)
    for found, what in (
        (rated, ""),
        (release.rate_secure_boot(medium.version) if secure_boot else None, " with Secure Boot"),
    ):
        if found is not None and found.rating.is_bad:
            reason = f"{medium} does not suit {release.name}{what}: {found.text} ({found.source})"
            return DriverChoice(problem=reason)
    file = medium.find_driver(driver, release.folder, arch)
    if file is None:
        arches = arch or " or ".join(release.arches)
        reason = f"{medium} has no driver {driver} in {release.folder} for {arches}"
        return DriverChoice(problem=reason)
    agent = medium.find_agent(arch or file.arch)
    notes = tuple(_note(release, medium, rated, agent))
    return DriverChoice(medium, file, agent, rated, notes=notes)


def _note(
    release: WindowsRelease,
    medium: DriverMedium,
    rated: Optional[RatedVersions],
    agent: Optional[str],
) -> Iterator[str]:
    if rated is None:
        yield f"nothing is known of {medium} in {release.name}; known to work: {release.take.value}"
    elif rated.rating is Rating.UPDATE:
        yield (
            f"{medium} needs {release.update.value} in {release.name}, which it reads SHA-2 "
            f"signatures with ({release.update.source}); without it take {release.take.value}"
        )
    elif rated.rating is Rating.REPORTED:
        yield f"{medium} in {release.name}: {rated.text} ({rated.source})"
    if release.install.value == "inf":
        yield f"{release.name}: {release.install.text} ({release.install.source})"
    if agent is None:
        yield f"{medium} has no installer of the guest agent"


def warn_named(os: Optional[str], names: Sequence[str]) -> List[str]:
    """Say which of the ISOs that a manifest names by version cannot work in its guest."""
    release = find_release(os)
    if release is None:
        return []
    found = []
    for name in names:
        version = parse_version(name.rpartition("/")[2])
        rated = release.rate(version) if version is not None else None
        if rated is not None and rated.rating.is_bad:
            found.append(
                f"{name} does not suit {release.name}: {rated.text} ({rated.source}); "
                f"{advise_version(release)}"
            )
    return found
