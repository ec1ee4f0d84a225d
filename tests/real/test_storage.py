"""Volumes on real libvirt: what is in them afterwards, and what must never be touched.

Judged by public tools (qemu-img, qemu-io, stat), never by what our own reading says alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import pytest

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.core.plan import CreateSeed, CreateVolume
from reconciler.core.world import VolumeView
from reconciler.errors import RefusedError, TerminalError, TransientError
from tests.lab.host import LabHost
from tests.real.images import count_free, fill_file_system

MIB = 2**20
DATA = 6 * MIB
SIZE = 64 * MIB


def run(*words: object) -> str:
    command = [str(word) for word in words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def info(path: object) -> Mapping[str, Any]:
    """Return what qemu-img says of the image itself."""
    found: Dict[str, Any] = json.loads(run("qemu-img", "info", "--output=json", path))
    return found


def digest(path: object) -> str:
    return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()


def make_image(path: Path, image_format: str, data: int = DATA) -> Path:
    """Write an image with data that does not compress, at its start and near its end."""
    run("qemu-img", "create", "-f", image_format, path, SIZE)
    filling = path.with_suffix(".filling")
    filling.write_bytes(os.urandom(data))
    end = SIZE - MIB
    commands = [f"write -s {filling} 0 {data}", f"write -P 0x5a {end} 64k"]
    run("qemu-io", "-f", image_format, *[one for text in commands for one in ("-c", text)], path)
    filling.unlink()
    return path


@dataclass(frozen=True)
class Bench:
    """One pool of the lab, with a template of each format in it."""

    host: LibvirtHost
    pool: str
    folder: Path

    def step(self, name: str, mode: str = "none", **changes: object) -> CreateVolume:
        """Return the step that makes a volume; a clone is of the template of its format."""
        suffix = Path(name).suffix
        kind = {".qcow2": "qcow2", ".img": "raw"}[suffix]
        step = CreateVolume("root", self.pool, name, kind, SIZE, mode)
        if mode != "none":
            origin = str(self.folder / f"template{suffix}")
            step = replace(step, origin=origin, origin_format=kind)
        return replace(step, **changes)  # type: ignore[arg-type]

    def make(self, name: str, mode: str = "none", **changes: object) -> VolumeView:
        """Make a volume."""
        return self.host.storage.create_volume(self.step(name, mode, **changes), _quiet)

    def path(self, name: str) -> Path:
        """Return where a volume's file is."""
        return self.folder / name

    def names(self) -> set[str]:
        """Return the files that are really there."""
        return {one.name for one in self.folder.iterdir()}


def _quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def _bench(lab: LabHost, host: LibvirtHost, pool: str, folder: Path) -> Iterator[Bench]:
    before = {one.name for one in folder.iterdir()}
    for kind, suffix in (("qcow2", "qcow2"), ("raw", "img")):
        make_image(folder / f"template.{suffix}", kind)
    lab.virsh("pool-refresh", pool)
    yield Bench(host, pool, folder)
    for one in folder.iterdir():
        if one.name not in before:
            one.unlink()
    lab.virsh("pool-refresh", pool)


@pytest.fixture
def plain(lab: LabHost, lab_host: LibvirtHost) -> Iterator[Bench]:
    """Return the pool `default`, on whatever file system the machine has."""
    yield from _bench(lab, lab_host, "default", lab.images)


@pytest.fixture
def xfs(lab: LabHost, lab_host: LibvirtHost) -> Iterator[Bench]:
    """Return the pool `xfs`, which can share blocks."""
    yield from _bench(lab, lab_host, "xfs", lab.folder / "xfs")


@pytest.mark.parametrize(("name", "kind"), [("vm.qcow2", "qcow2"), ("vm.img", "raw")])
def test_a_blank_volume_is_sparse_and_as_large_as_asked_for(
    plain: Bench, name: str, kind: str
) -> None:
    volume = plain.make(name, capacity=SIZE + MIB)
    found = info(plain.path(name))
    assert (found["format"], found["virtual-size"]) == (kind, SIZE + MIB)
    assert found["actual-size"] < MIB
    assert (volume.path, volume.format, volume.capacity) == (
        str(plain.path(name)), kind, SIZE + MIB,
    )  # fmt: skip


def test_a_qcow2_is_of_the_version_that_is_not_deprecated(plain: Bench) -> None:
    for name, mode in (("a.qcow2", "none"), ("b.qcow2", "full"), ("c.qcow2", "linked")):
        plain.make(name, mode)
        assert info(plain.path(name))["format-specific"]["data"]["compat"] == "1.1"


CLONES = [
    ("plain", "full", "vm.qcow2", {}),
    ("plain", "full", "vm.img", {}),
    ("plain", "full", "vm.img", {"origin": "template.qcow2", "origin_format": "qcow2"}),
    ("plain", "full", "vm.qcow2", {"origin": "template.img", "origin_format": "raw"}),
    ("plain", "linked", "vm.qcow2", {}),
    ("plain", "linked", "vm.qcow2", {"origin": "template.img", "origin_format": "raw"}),
    ("xfs", "full", "vm.qcow2", {}),
    ("xfs", "linked", "vm.qcow2", {}),
    ("xfs", "reflink", "vm.qcow2", {}),
    ("xfs", "reflink", "vm.img", {}),
]
IDS = [f"{pool} {mode} {step.get('origin', '')}→{name}" for pool, mode, name, step in CLONES]


@pytest.mark.parametrize(("pool", "mode", "name", "changes"), CLONES, ids=IDS)
@pytest.mark.parametrize("growth", [None, 0, 64 * MIB], ids=["no size", "same size", "grown"])
def test_a_clone_holds_the_templates_data_and_is_independent_of_it(
    request: pytest.FixtureRequest,
    pool: str,
    mode: str,
    name: str,
    changes: Dict[str, str],
    growth: int | None,
) -> None:
    bench: Bench = request.getfixturevalue(pool)
    origin = bench.path(changes.get("origin", f"template{Path(name).suffix}"))
    before = digest(origin)
    capacity = None if growth is None else SIZE + growth
    step = {**changes, "origin": str(origin), "capacity": capacity}

    volume = bench.make(name, mode, **step)

    path = bench.path(name)
    run("qemu-img", "compare", origin, path)
    assert info(path)["virtual-size"] == volume.capacity == SIZE + (growth or 0)
    if info(path)["format"] == "qcow2":
        run("qemu-img", "check", path)
    run("qemu-io", "-f", volume.format, "-c", f"write -P 1 0 {MIB}", path)
    assert digest(origin) == before, "writing to the clone must never reach the template"
    listed = bench.host.storage.read_pool(bench.pool).volumes[name]
    listed = replace(listed, changed_at=volume.changed_at, allocation=volume.allocation)
    assert listed == volume


def test_a_linked_clone_names_what_is_below_with_its_format(plain: Bench) -> None:
    volume = plain.make("vm.qcow2", "linked")
    found = info(volume.path)
    assert found["full-backing-filename"] == volume.backing == str(plain.path("template.qcow2"))
    assert found["backing-filename-format"] == "qcow2"
    assert found["actual-size"] < MIB


@pytest.mark.parametrize("name", ["vm.qcow2", "vm.img"])
def test_a_reflink_takes_no_space(xfs: Bench, name: str) -> None:
    before = count_free(xfs.folder)
    xfs.make(name, "reflink")
    assert before - count_free(xfs.folder) < MIB


def test_a_new_volume_has_the_pools_permissions_however_it_was_made(xfs: Bench) -> None:
    modes = {}
    for mode in ("none", "full", "linked", "reflink"):
        path = xfs.make(f"{mode}.qcow2", mode).path
        state = Path(path).stat()
        modes[mode] = (state.st_mode, state.st_uid, state.st_gid)
    assert len(set(modes.values())) == 1, modes


def test_a_reflink_of_an_overlay_is_known_to_be_one(xfs: Bench) -> None:
    xfs.make("overlay.qcow2", "linked")
    xfs.make("vm.qcow2", "reflink", origin=str(xfs.path("overlay.qcow2")))
    volumes = xfs.host.storage.read_pool("xfs").volumes
    assert volumes["vm.qcow2"].backing == str(xfs.path("template.qcow2"))


# What must never happen.


@pytest.mark.parametrize("seen", [True, False], ids=["known to libvirt", "only on the disk"])
@pytest.mark.parametrize("mode", ["none", "full", "linked", "reflink"])
def test_a_file_that_is_there_is_never_touched(
    lab: LabHost, xfs: Bench, mode: str, seen: bool
) -> None:
    path = xfs.path("vm.qcow2")
    path.write_text("precious", encoding="utf-8")
    if seen:
        lab.virsh("pool-refresh", "xfs")
    with pytest.raises(RefusedError, match=r"xfs/vm\.qcow2 already exists"):
        xfs.make("vm.qcow2", mode)
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_volume_is_never_shrunk(plain: Bench) -> None:
    path = str(plain.path("template.qcow2"))
    before = digest(path)
    with pytest.raises(RefusedError, match="never shrunk"):
        plain.host.storage.resize_volume(path, SIZE - MIB)
    for mode in ("full", "linked"):
        with pytest.raises(RefusedError, match="never shrunk"):
            plain.make("vm.qcow2", mode, capacity=SIZE - MIB)
    assert digest(path) == before
    assert plain.names() == {"template.qcow2", "template.img"}


def test_a_reflink_across_file_systems_fails_and_leaves_nothing(plain: Bench, xfs: Bench) -> None:
    with pytest.raises(TerminalError, match=r"cannot reflink.*unfinished volume was deleted"):
        plain.make("vm.qcow2", "reflink", origin=str(xfs.path("template.qcow2")))
    assert "vm.qcow2" not in plain.names()
    assert "vm.qcow2" not in plain.host.storage.read_pool("default").volumes


def test_an_image_whose_data_is_in_another_file_is_not_reflinked(lab: LabHost, xfs: Bench) -> None:
    image, data = xfs.path("outside.qcow2"), xfs.path("outside.data")
    run("qemu-img", "create", "-f", "qcow2", "-o", f"data_file={data}", image, SIZE)
    lab.virsh("pool-refresh", "xfs")
    pool = xfs.host.storage.read_pool("xfs")
    assert not xfs.host.storage.can_reflink(pool, str(image))
    with pytest.raises(TerminalError, match="another file"):
        xfs.make("vm.qcow2", "reflink", origin=str(image))
    assert "vm.qcow2" not in xfs.names()


def test_a_full_disk_leaves_no_half_volume(xfs: Bench) -> None:
    fill_file_system(xfs.folder, left=2 * MIB)
    with pytest.raises(TransientError, match=r"xfs/vm\.qcow2"):
        xfs.make("vm.qcow2", "full")
    assert "vm.qcow2" not in xfs.names()


# What is asked beforehand, and what is done to volumes that are there.


def test_whether_blocks_can_be_shared_is_tried_and_leaves_nothing(plain: Bench, xfs: Bench) -> None:
    storage = xfs.host.storage
    pool, other = storage.read_pool("xfs"), storage.read_pool("default")
    before = xfs.names()
    assert storage.can_reflink(pool, str(xfs.path("template.qcow2")))
    assert storage.can_reflink(pool, str(xfs.path("template.img")))
    assert not storage.can_reflink(pool, str(plain.path("template.qcow2")))
    assert not storage.can_reflink(other, str(xfs.path("template.qcow2")))
    # One that is still to be fetched: what its folder can do.
    assert storage.can_reflink(pool, str(xfs.path("absent")))
    assert not storage.can_reflink(other, str(xfs.path("absent")))
    assert not storage.can_reflink(pool, str(plain.path("absent")))
    assert not storage.can_reflink(pool, str(xfs.path("absent") / "absent"))
    assert not storage.can_reflink(replace(pool, type="logical"), str(xfs.path("template.img")))
    assert xfs.names() == before


@pytest.mark.parametrize("name", ["vm.qcow2", "vm.img"])
def test_a_volume_grows_and_keeps_its_data(plain: Bench, name: str) -> None:
    volume = plain.make(name, "full")
    for capacity in (SIZE + MIB, SIZE + MIB):
        plain.host.storage.resize_volume(volume.path, capacity)
        assert info(volume.path)["virtual-size"] == SIZE + MIB
    run("qemu-img", "compare", plain.path(f"template{Path(name).suffix}"), volume.path)


def test_an_image_outside_of_all_pools_is_not_resized(plain: Bench, tmp_path: Path) -> None:
    image = make_image(tmp_path / "x.qcow2", "qcow2")
    with pytest.raises(TransientError, match="is in no active storage pool"):
        plain.host.storage.resize_volume(str(image), SIZE + MIB)


def test_files_that_come_and_go_by_hand_are_seen(plain: Bench) -> None:
    storage = plain.host.storage
    make_image(plain.path("byhand.qcow2"), "qcow2")
    assert storage.read_pool("default").volumes["byhand.qcow2"].capacity == SIZE
    plain.path("byhand.qcow2").unlink()
    assert "byhand.qcow2" not in storage.read_pool("default").volumes


def test_an_image_put_in_by_hand_can_be_cloned_and_resized(plain: Bench) -> None:
    image = make_image(plain.path("byhand.qcow2"), "qcow2")
    plain.make("vm.qcow2", "full", origin=str(image))
    other = make_image(plain.path("other.qcow2"), "qcow2")
    plain.host.storage.resize_volume(str(other), SIZE + MIB)
    assert info(other)["virtual-size"] == SIZE + MIB


def test_an_unfinished_volume_is_deleted_however_it_came_to_be(plain: Bench) -> None:
    storage = plain.host.storage
    plain.make("known.qcow2")
    plain.path("unknown.qcow2").write_bytes(b"cut off")
    for name in ("known.qcow2", "unknown.qcow2", "gone.qcow2"):
        storage.delete_partial("default", name)
    assert plain.names() == {"template.qcow2", "template.img"}


# Long clones.


BIG = 2048 * MIB  # takes longer to copy than it takes to look, on a fast machine too


@pytest.fixture
def big(lab: LabHost, plain: Bench) -> str:
    """Return an image that takes a while to copy."""
    path = plain.path("big.img")
    with path.open("wb") as file:
        block = os.urandom(MIB)
        for _ in range(BIG // MIB):
            file.write(block)
    lab.virsh("pool-refresh", "default")
    return str(path)


def test_progress_of_a_long_clone_is_told_on_the_way(plain: Bench, big: str) -> None:
    told: List[Tuple[str, int, int]] = []
    step = plain.step("vm.img", "full", origin=big, capacity=None)
    plain.host.storage.create_volume(step, lambda *one: told.append(one))
    assert {what for what, _, _ in told} == {"default/vm.img"}
    done = [one for _, one, _ in told]
    assert done == sorted(done)
    assert done[0] < done[-1], "nothing was told on the way"
    # A file system may take a block more for it than it has bytes.
    assert done[-1] == told[-1][2]
    assert BIG <= done[-1] < BIG + MIB


def test_while_a_clone_runs_the_host_answers_and_the_copy_is_not_deleted(
    plain: Bench, big: str
) -> None:
    storage = plain.host.storage
    seen: List[str] = []

    def look(what: str, done: int, total: int) -> None:
        if done == total or seen:
            return
        plain.path("byhand").write_bytes(b"makes the pool look stale")
        seen.append("vm.img" if "vm.img" in storage.read_pool("default").volumes else "nothing")
        with pytest.raises(TransientError, match="still being allocated"):
            storage.delete_partial("default", "vm.img")
        storage.create_seed(seed)
        with pytest.raises(RefusedError, match="already exists"):
            storage.create_seed(seed)

    seed_path = plain.path("web01-seed.iso")
    files = (("meta-data", "instance-id: web01\n"),)
    seed = CreateSeed("default", seed_path.name, str(seed_path), "", files)
    step = plain.step("vm.img", "full", origin=big, capacity=None)
    storage.create_volume(step, look)
    assert seen == ["vm.img"]
    assert seed_path.stat().st_size > 0
    assert plain.path("vm.img").stat().st_size == BIG


def test_two_clones_of_one_template_run_side_by_side(plain: Bench) -> None:
    errors: List[BaseException] = []

    def clone(name: str) -> None:
        try:
            plain.make(name, "full")
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=clone, args=(f"vm{n}.qcow2",)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(300)
        assert not one.is_alive()
    assert errors == []
    for number in range(4):
        run("qemu-img", "compare", plain.path("template.qcow2"), plain.path(f"vm{number}.qcow2"))
