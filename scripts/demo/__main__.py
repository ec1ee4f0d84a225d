"""From an empty host to an empty plan, then drift and its repair; called by `./demo`.

A command that ends otherwise than it should ends the demo, so this is also a smoke test. Whatever
happens, the private host and its files are gone at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict

from reconciler.core.names import derive_mac
from tests.lab.host import LabHost

from .stage import Stage, StageError

EXAMPLES = "manifests/examples"
CHANGES = 2  # exit status of a plan that has some, none of which disturbs a guest
MIB, GIB = 2**20, 2**30
# Image → size, and how much of it holds data, so that a full clone has something to copy.
IMAGES = {"rocky9-base.qcow2": ("10G", 64 * MIB), "win2016-base.qcow2": ("60G", 256 * MIB)}
# The images with a clone, and the largest guest: the kernel grants QEMU no more than there is. What
# is used is little, about 60 MiB for each guest, as none has a system.
DISK, MEMORY = GIB, 2.5 * GIB
FOLDER = "/tmp"  # noqa: S108 - a socket's path must be short; the folder in it is made safely
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

BACKUP = derive_mac("db01", "backup")
# What people do, and forget. Nothing that a guest's system would have to agree to.
BY_HAND = (
    "attach-disk vm006-win2016 '' sdb --type cdrom --targetbus sata --config",
    "setmem vm006-win2016 1GiB --config",
    "detach-disk db01 sda --live --config",
    f"domif-setlink db01 {BACKUP} up",
    "destroy web01",
    "autostart web01 --disable",
    "detach-interface web01 network --config",
)
# What libvirt must show after the repair as it did before. An id is another after a restart.
SIGHTS = (
    "domid vm006-win2016",
    "domid db01",
    "domstate web01",
    "list --all --autostart --name",
    "domblklist vm006-win2016 --inactive --details",
    "domblklist db01 --details",
    "domblklist db01 --inactive --details",
    f"domif-getlink db01 {BACKUP}",
    "domiflist web01 --inactive",
)


def main() -> None:
    """Run the demo and clean up, whatever happens."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    started = time.monotonic()
    try:
        _check_room()
        _play_on_a_host()
    except (StageError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"\ndemo: FAILED: {error}\n{getattr(error, 'stderr', None) or ''}".rstrip())
    except BrokenPipeError:  # as in `./demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    print(
        "\n\nProved on real QEMU: an empty host became what the manifests say, and "
        f"{len(BY_HAND)} changes by hand were shown\nand repaired, without a restart of any "
        "guest that was running. The private host and its files are\ngone. It took "
        f"{time.monotonic() - started:.0f} seconds."
    )


def _leave(number: int, _frame: Any) -> None:
    """Clean up; who presses Ctrl-C once more does not get in the way of that."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    with suppress(OSError):  # the terminal may be gone
        os.write(sys.stderr.fileno(), b"\ndemo: stopped; the private host goes now\n")
    sys.exit(128 + number)


def _check_room() -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for what, there, wanted in (
        (f"free space in {FOLDER}", shutil.disk_usage(FOLDER).free, DISK),
        ("memory", memory, MEMORY),
    ):
        if there < wanted:
            raise StageError(f"{what}: {wanted / GIB:.1f} GiB needed, {there / GIB:.1f} there")


def _play_on_a_host() -> None:
    folder = Path(tempfile.mkdtemp(prefix="vr-demo-", dir=FOLDER))
    try:
        # Not with KVM: where it is nested, it may be there and hang.
        with LabHost(folder, kvm=False) as host:
            _make_images(host)
            _play(Stage(host.uri(), home=folder / "home"))
    finally:
        shutil.rmtree(folder)


def _make_images(host: LabHost) -> None:
    for name, (size, data) in IMAGES.items():
        path = host.images / name
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
        write = f"write -q -P 85 0 {data}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, path], check=True)
    host.virsh("pool-refresh", "default")


def _play(stage: Stage) -> None:
    """Show the main job."""
    stage.say("A libvirt host of its own, empty but for the images of two templates.")
    stage.show(f"export LIBVIRT_DEFAULT_URI='{stage.uri}'")
    stage.virsh("list --all")
    stage.virsh("vol-list default")
    stage.say("Manifests are checked without libvirt, and planned without changing anything.")
    stage.reconcile("validate", EXAMPLES)
    stage.reconcile("plan", EXAMPLES)
    stage.say("Apply shows the plan once more, and does just that.")
    stage.reconcile("apply", "--yes", EXAMPLES)
    stage.say("Now the plan is empty.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES)
    stage.reconcile("status")
    stage.virsh("list --all")
    before = _see(stage)
    stage.say("People work by hand: a drive comes, a disk goes, a machine is switched off.")
    for words in BY_HAND:
        stage.virsh(words)
    stage.say("The drift. Every line says what the repair does to the running guest.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES, status=CHANGES)
    stage.reconcile("apply", "--yes", EXAMPLES)
    stage.say("The host is as the manifests say, and guests that ran have run on: see their Id.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES)
    stage.virsh("list --all")
    for words, text in _see(stage).items():
        if sorted(text.split("\n")) != sorted(before[words].split("\n")):  # in any order
            raise StageError(f"virsh {words}: shows\n{text}\nand before the drift\n{before[words]}")


def _see(stage: Stage) -> Dict[str, str]:
    return {words: stage.look(words) for words in SIGHTS}


if __name__ == "__main__":
    main()
