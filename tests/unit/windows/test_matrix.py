"""The matrix of Windows releases and virtio-win versions: its shape, and what is chosen by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator, Mapping, Tuple

import pytest

from reconciler.core import windows_drivers
from reconciler.core.guests import is_known, is_windows
from reconciler.core.virtio_win import DriverVersion, parse_version
from reconciler.core.windows_drivers import (
    Rating,
    WindowsRelease,
    advise_version,
    choose_drivers,
    find_release,
    load_matrix,
    warn_named,
)
from tests.unit.windows.media import make_medium

LISTED: Mapping[str, object] = json.loads(
    Path(__file__).with_name("osinfo_windows.json").read_text(encoding="utf-8")
)
RELEASES = load_matrix().releases


def list_cells() -> Iterator[Tuple[str, Mapping[str, object]]]:
    """Yield each cell of the file, with its place."""
    data = json.loads(
        Path(windows_drivers.__file__).with_name("windows_drivers.json").read_text("utf-8")
    )

    def walk(where: str, node: object) -> Iterator[Tuple[str, Mapping[str, object]]]:
        if isinstance(node, dict) and "text" in node:
            yield where, node
        elif isinstance(node, dict):
            for name, child in node.items():
                yield from walk(f"{where}.{name}", child)
        elif isinstance(node, list):
            for index, child in enumerate(node):
                yield from walk(f"{where}[{index}]", child)

    for part in ("releases", "same", "gaps"):
        yield from walk(part, data[part])


@pytest.mark.parametrize(
    ("where", "cell"), [pytest.param(*cell, id=cell[0]) for cell in list_cells()]
)
def test_each_cell_has_a_source_and_says_something(where: str, cell: Mapping[str, object]) -> None:
    del where
    sources = json.loads(
        Path(windows_drivers.__file__).with_name("windows_drivers.json").read_text("utf-8")
    )["sources"]
    assert sources[cell["source"]].startswith("https://")
    assert cell["text"]


@pytest.mark.parametrize("os", LISTED["os"])  # type: ignore[arg-type]
def test_each_windows_of_libosinfo_has_a_row_or_a_reason(os: str) -> None:
    assert (find_release(os) is None) == (os in load_matrix().gaps)


@pytest.mark.parametrize("os", sorted({*RELEASES, *load_matrix().same}))
def test_each_row_is_of_a_windows_that_manifests_can_name(os: str) -> None:
    assert is_windows(os)
    assert is_known(os)


@pytest.mark.parametrize("release", RELEASES.values(), ids=str)
def test_ranges_neither_overlap_nor_contradict(release: WindowsRelease) -> None:
    for ranges in (release.versions, release.secure_boot):
        for line in {rated.line for rated in ranges}:
            of_line = [rated for rated in ranges if rated.line == line]
            for build in range(400):
                covering = [one for one in of_line if one.covers(DriverVersion(line, build))]
                assert len(covering) <= 1, f"{line}.{build}"


@pytest.mark.parametrize("release", RELEASES.values(), ids=str)
def test_the_version_to_take_works(release: WindowsRelease) -> None:
    version = parse_version(f"virtio-win-{release.take.value}")
    rated = release.rate(version)
    assert rated is not None
    assert rated.rating is Rating.WORKS
    assert f"virtio-win-{release.take.value}/" in advise_version(release)


@pytest.mark.parametrize("release", RELEASES.values(), ids=str)
def test_what_needs_an_update_names_it(release: WindowsRelease) -> None:
    needs = any(rated.rating is Rating.UPDATE for rated in release.versions)
    assert not needs or "KB" in release.update.value


@pytest.mark.parametrize(
    ("os", "version", "rating"),
    [
        ("win2k8r2", "0.1.173", Rating.WORKS),
        ("win2k8r2", "0.1.190", Rating.UNSIGNED),
        ("win2k8r2", "0.1.240", Rating.UPDATE),
        ("win7", "0.1.185", Rating.UNSIGNED),
        ("win2k12r2", "0.1.215", Rating.WORKS),
        ("win2k12r2", "0.1.217", Rating.BROKEN),
        ("win2k12r2", "0.1.240", Rating.UNSIGNED),
        ("win2k16", "0.1.248", Rating.WORKS),
        ("win2k16", "0.1.266", Rating.BROKEN),
        ("win2k16", "1.9.46", Rating.WORKS),
        ("win2k19", "0.1.266", Rating.WORKS),
        ("win2k25", "0.1.240", Rating.MISSING),
        ("win2k3", "1.9.46", Rating.MISSING),
        ("win2k3r2", "0.1.173", Rating.WORKS),
    ],
)
def test_what_is_known(os: str, version: str, rating: Rating) -> None:
    release = find_release(os)
    assert release is not None
    rated = release.rate(parse_version(f"virtio-win-{version}.iso"))
    assert rated is not None
    assert rated.rating is rating


def test_nothing_is_said_of_a_version_that_nobody_reported() -> None:
    release = find_release("win2k16")
    assert release is not None
    assert release.rate(DriverVersion("0.1", 300)) is None


def test_the_medium_that_works_is_chosen_and_not_the_newest() -> None:
    new, old = make_medium("0.1.285"), make_medium("0.1.173")
    choice = choose_drivers("win2k8r2", "viostor", [new, old])
    assert choice.medium == old
    assert choice.driver is not None
    assert choice.driver.path == "viostor/2k8R2/amd64/viostor.inf"
    assert choice.agent == "guest-agent/qemu-ga-x86_64.msi"
    assert choice.problem == ""
    assert choice.notes == (
        "Windows Server 2008 R2: the MSI is for Windows 8 and later; install each driver by its "
        "INF (https://github.com/virtio-win/virtio-win-pkg-scripts/issues/40)",
    )


def test_of_media_that_work_the_newest_is_chosen() -> None:
    media = [make_medium("0.1.229"), make_medium("0.1.285"), make_medium("0.1.240")]
    choice = choose_drivers("win2k19", "vioscsi", media)
    assert choice.medium == media[1]


def test_a_bad_medium_is_refused_with_the_one_to_take() -> None:
    choice = choose_drivers("win2k16", "viostor", [make_medium("0.1.266")])
    assert choice.medium is None
    assert choice.problem == (
        "/usr/share/virtio-win/virtio-win-0.1.266.iso (virtio-win 0.1.266) does not suit Windows "
        "Server 2016: Windows refuses the drivers as incompatible "
        "(https://github.com/antifob/incus-windows/issues/7); take virtio-win 0.1.248: download "
        "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/archive-virtio/"
        "virtio-win-0.1.248-1/virtio-win-0.1.248.iso to /usr/share/virtio-win/ (or set "
        "spec.virtioWin of the Host)"
    )


def test_a_medium_without_the_folder_is_refused() -> None:
    choice = choose_drivers("win2k16", "viostor", [make_medium("0.1.248", oses=("w10",))])
    assert "has no driver viostor in 2k16 for amd64; take virtio-win 0.1.248" in choice.problem


def test_nothing_is_refused_where_no_medium_is_known() -> None:
    choice = choose_drivers("win2k16", "viostor", [])
    assert (choice.medium, choice.problem) == (None, "")


def test_an_update_that_windows_needs_is_said() -> None:
    note, _ = choose_drivers("win7", "viostor", [make_medium("0.1.240")]).notes
    assert "needs KB3033929 or KB4474419 in Windows 7" in note


def test_secure_boot_needs_what_microsoft_signed() -> None:
    medium = make_medium("0.1.190")
    assert choose_drivers("win2k19", "viostor", [medium]).medium == medium
    refused = choose_drivers("win2k19", "viostor", [medium], secure_boot=True)
    assert "does not suit Windows Server 2019 with Secure Boot: not signed" in refused.problem


def test_xp_has_no_driver_for_scsi_in_any_version() -> None:
    choice = choose_drivers("winxp", "vioscsi", [make_medium("0.1.173")])
    assert choice.problem == (
        "no virtio-win has the driver vioscsi for Windows XP, so no disk of it can be on scsi; use "
        "virtio"
    )


@pytest.mark.parametrize(("arch", "found"), [("x86_64", "amd64"), ("i686", "x86"), (None, "amd64")])
def test_the_architecture_of_the_guest_counts(arch: str, found: str) -> None:
    choice = choose_drivers("win7", "viostor", [make_medium("0.1.173")], arch=arch)
    assert choice.driver is not None
    assert choice.driver.path == f"viostor/w7/{found}/viostor.inf"


def test_an_iso_that_a_manifest_names_is_judged_by_its_name() -> None:
    bad, good = "/isos/virtio-win-0.1.190.iso", "/isos/virtio-win-0.1.173.iso"
    (warning,) = warn_named("win2k8r2", [bad, good, "/isos/windows.iso", ""])
    assert warning.startswith(f"{bad} does not suit Windows Server 2008 R2: signed with SHA-256")
    assert "take virtio-win 0.1.173" in warning
    assert warn_named("rocky9", [bad]) == []
