"""Copy images of other hypervisors' by `qemu-img`, convert their machines by `virt-v2v`.

The only place that runs these two for imports. Both are children that end with this process. What
is imported is opened for reading only. virt-v2v writes into a folder of its own (`-o local`), which
defines nothing, and what it wrote is copied into the volumes that libvirt made. A guard removes the
folder when this process ends, also by kill -9; what a power failure left the next run removes.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, List, Mapping, Optional, Sequence

from reconciler.adapters.child_programs import (
    ChildProgram,
    ask,
    find_kernel_lack,
    make_guestfs_environ,
    may_isolate,
    may_write,
)
from reconciler.adapters.foreign import files
from reconciler.adapters.text_files import sync_path
from reconciler.core.frozen import regex
from reconciler.core.image_headers import find_capacity
from reconciler.core.imports import (
    OVA,
    QEMU_IMG,
    VIRT_V2V,
    ConvertMachine,
    FileStamp,
    ForeignImage,
    ForeignSource,
    ImportedDisk,
    ImportTools,
    Tell,
    VerifyImport,
)
from reconciler.core.units import format_size
from reconciler.core.xmltree import parse
from reconciler.errors import (
    FullError,
    MissingError,
    ReconcilerError,
    TerminalError,
    TransientError,
)

COPY_LIMIT = 86_400.0  # seconds; a machine may have some TiB
CONVERT_LIMIT = 86_400.0
LOOK_LIMIT = 600.0
INSPECTOR = "virt-inspector"
_PERCENT = regex(r"\s*\(?(?P<percent>\d+(?:\.\d+)?)/100%\)?\s*")
_COPYING = regex(r".*?(?P<percent>\d+)%.*")
_LAST_LINES = 5
_OSINFO = regex(r"<osinfo>(?P<id>[A-Za-z0-9_.-]+)</osinfo>")
# What says that a machine is none that virt-v2v converts, and not that something failed; from
# virt-v2v's convert/ and common/mltools (error messages, which are in English under LC_ALL=C).
_REFUSALS = (
    "no bootloader detected",
    "not enough free space for conversion",
    "failed to find grub2-mkconfig",
    "unable to find any valid",
    "inspection could not detect the source guest",
    "unable to convert this guest",
    "no root device found",
    "no installed kernel packages",
    "no operating system",
    "multiboot operating systems",
    "only supports",
    "not supported",
    "this guest cannot be",
    "unclean file system",
    "is not an OVF",
    "could not find",
    "could not parse",
    "no disks",
)
# Waits until this process ends, and removes the folder. The child that writes there ended before.
_GUARD = 'cat >/dev/null; for i in 1 2 3 4 5; do rm -rf -- "$0" && exit; done'


class LocalImporter:
    """Implements `imports.Importer`, with the settings of that environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Start nothing yet."""
        self._environ = make_guestfs_environ(environ)

    def find_tools(self, folder: str) -> ImportTools:
        """Return the versions of what imports."""
        if self._find(QEMU_IMG) is None:
            raise MissingError(
                "the program qemu-img is needed to import and not installed: dnf install "
                "qemu-img, apt install qemu-utils"
            )
        if not may_write(folder):
            raise MissingError(
                f"only root can import into {folder}, because the files there are root's; run "
                "virt-reconciler apply as root"
            )
        version = ask([QEMU_IMG, "--version"], self._environ).split()[2]
        if self._find(VIRT_V2V) is None:
            return ImportTools(version, lack="virt-v2v is not installed")
        lack = find_kernel_lack(VIRT_V2V, self._environ)
        if self._find("nbdcopy") is None:  # Debian's virt-v2v does not bring it
            lack = "virt-v2v needs nbdcopy: dnf install libnbd, apt install libnbd-bin"
        if not lack and os.geteuid():
            lack = "virt-v2v is run as root only"
        named = ask([VIRT_V2V, "--version"], self._environ).split()
        lines = ask([VIRT_V2V, "--machine-readable"], self._environ).splitlines()
        reads = tuple(line[len("input:") :] for line in lines if line.startswith("input:"))
        confined = ""
        if not lack and not may_isolate(self._environ):
            confined = "virt-v2v runs in a PID namespace, which this service may not make"
        v2v = named[1] if len(named) > 1 else ""
        return ImportTools(version, v2v, reads, lack, confined=confined)

    def _find(self, program: str) -> Optional[str]:
        return shutil.which(program, path=self._environ.get("PATH"))

    def inspect(self, name: str) -> ForeignSource:
        """Return what is in a file, `KIND:FORMAT:PATH`."""
        return files.inspect(*name.split(":", 2))

    def digest(self, stamp: FileStamp, tell: Tell) -> str:
        """Return the SHA-256 of a file."""
        files.refuse_changed(stamp)
        return files.digest_file(stamp, _follow_file(stamp, tell))

    def verify(self, step: VerifyImport, tell: Tell) -> None:
        """Verify a file before anything of it is copied."""
        path = step.stamp.path
        found = self.digest(step.stamp, tell) if step.sha256 else ""
        if step.sha256 != found:
            raise TerminalError(
                f"{path}: wrong checksum: sha256 is {found}, and should be {step.sha256}; copy it "
                "again, or if it was changed rightly, write its new checksum in import.sha256"
            )
        files.refuse_changed(step.stamp)
        if step.kind == OVA:
            files.verify_members(path, _follow_file(step.stamp, tell))

    def copy(self, target: ImportedDisk, tell: Tell) -> None:
        """Copy an image into a volume, and return when it is on disk."""
        for stamp in target.image.stamps:
            files.refuse_changed(stamp)
        self._copy(target, target.image.place, target.image.data, tell)
        for stamp in target.image.stamps:
            files.refuse_changed(stamp)

    def _copy(self, target: ImportedDisk, place: str, data: int, tell: Tell) -> None:
        label, lines = f"{target.pool}/{target.name}", list[str]()
        percent = 0.0

        def follow(line: str) -> None:
            nonlocal percent
            found = _PERCENT.fullmatch(line)
            percent = float(found["percent"]) if found else percent
            tell(f"{label}: importing", int(data * percent / 100), data)

        is_file = os.path.isfile(target.path)
        words = [QEMU_IMG, "convert", "-p", "-n", *(["--target-is-zero"] if is_file else [])]
        program = ChildProgram(
            words=(*words, "-O", target.format, place, target.path),
            environ=self._environ,
            limit=COPY_LIMIT,
            too_long="copy the image to this host first",
        )
        status = program.run(follow, lines)
        said = "\n".join(line for line in lines if not _PERCENT.fullmatch(line))
        if "No space left" in said:
            free = shutil.disk_usage(os.path.dirname(target.path)).free
            raise FullError(
                f"storage pool {target.pool} is full: {format_size(free // 2**20 * 2**20)} are free"
            )
        if status < 0:
            raise TransientError(f"qemu-img was ended by signal {-status}; apply again")
        if status:
            raise files.explain_qemu(target.image.name, said)
        sync_path(target.path)

    def convert(self, step: ConvertMachine, tell: Tell) -> None:
        """Convert a machine into its volumes; one that virt-v2v refuses is copied as it is."""
        files.refuse_changed(step.stamp)
        for _, target in step.targets:
            for stamp in target.image.stamps:
                files.refuse_changed(stamp)
        try:
            with _staging(step) as folder:
                self._run_v2v(step, folder, tell)
                paths = _find_output(step, folder)
                for number, target in step.targets:
                    file = {"driver": "file", "filename": paths[number]}
                    place = f"json:{json.dumps({'driver': 'qcow2', 'file': file})}"
                    self._copy(target, place, os.stat(paths[number]).st_size, tell)
        except _RefusedByV2vError as error:
            if not step.falls_back:
                raise TerminalError(
                    f"{step.stamp.path}: virt-v2v does not convert it: {error}; to copy it as it "
                    "is, set import.via: qemu-img, and a bus that its system has a driver of"
                ) from error
            tell(f"{step.machine}: virt-v2v does not convert it ({error}); copying it", 0, -1)
            for _, target in step.targets:
                self.copy(target, tell)

    def _run_v2v(self, step: ConvertMachine, folder: str, tell: Tell) -> None:
        """Run virt-v2v. Raises _RefusedByV2vError for a machine that it does not convert."""
        doing, lines = "starting", list[str]()
        total = sum(target.image.data for _, target in step.targets)

        def follow(line: str) -> None:
            nonlocal doing
            message = _read_message(line)
            if message.get("type") == "message":
                doing = message["message"]
            copied = _COPYING.fullmatch(line) if "%" in line and not message else None
            if copied:
                done = total * int(copied["percent"]) // 100
                tell(f"{step.machine}: virt-v2v: copying", done, total)
            else:
                tell(f"{step.machine}: virt-v2v: {doing}", 0, -1)

        environ = {**self._environ, "VIRT_V2V_TMPDIR": folder}
        if step.virtio_win:
            environ["VIRTIO_WIN"] = step.virtio_win
        program = ChildProgram(
            words=(
                VIRT_V2V, "--machine-readable", "-i", step.kind, step.stamp.path,
                "-o", "local", "-os", folder, "-of", "qcow2", "-on", "v2v",
            ),
            environ=environ,
            limit=CONVERT_LIMIT,
            has_children=True,
            too_long="see how long its appliance takes on this host: libguestfs-test-tool",
        )  # fmt: skip
        status = program.run(follow, lines)
        if status:
            raise _explain_v2v(lines, status)

    def guess_system(self, image: ForeignImage, tell: Tell) -> str:
        """Return libosinfo's short id of the system in an image; empty if nobody can say."""
        path = image.stamps[0].path if image.stamps else ""
        is_inside = '"offset"' in image.place
        if is_inside or self._find(INSPECTOR) is None or find_kernel_lack("", self._environ):
            return ""
        words = (INSPECTOR, "--format", image.format, "--no-applications", "--no-icon", "-a", path)
        program = ChildProgram(words, self._environ, LOOK_LIMIT, too_long="")
        lines: List[str] = []
        try:
            status = program.run(lambda _: tell("looking for the system", 0, -1), lines)
        except TransientError:
            return ""
        found = _OSINFO.search("\n".join(lines))
        return found["id"] if found and not status else ""


def _follow_file(stamp: FileStamp, tell: Tell) -> Callable[[int, int], None]:
    name = os.path.basename(stamp.path)
    return lambda done, total: tell(f"{name}: verifying", done, total)


class _RefusedByV2vError(TransientError):
    """virt-v2v works, and does not convert this machine."""


@contextmanager
def _staging(step: ConvertMachine) -> Iterator[str]:
    """Have a folder that is removed whatever happens, and those of runs that were killed."""
    for former in glob.glob(os.path.join(glob.escape(step.folder), f"{glob.escape(step.stem)}*")):
        shutil.rmtree(former, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=step.stem, dir=step.folder)
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            guard.communicate()


def _find_output(step: ConvertMachine, folder: str) -> Sequence[str]:
    """Return the disks that virt-v2v wrote, in the machine's order.

    Raises _RefusedByV2vError if they are not the machine's, TerminalError if the driver is missing.
    """
    paths = sorted(glob.glob(os.path.join(folder, "v2v-sd*")), key=lambda path: (len(path), path))
    sizes = tuple(_measure_qcow2(path) for path in paths)
    if sizes != step.sizes:
        raise _RefusedByV2vError(
            f"it found {len(sizes)} disks of {len(step.sizes)}, or of other sizes"
        )
    with open(os.path.join(folder, "v2v.xml"), encoding="utf-8") as file:
        root = parse(file.read().partition("?>")[2] or "")
    buses = {target.get("bus") for target in root.iterfind("devices/disk[@device='disk']/target")}
    if step.virtio_disks and buses.isdisjoint({"virtio", "scsi"}):
        raise TerminalError(
            f"disks[{step.virtio_disks[0]}].bus: virt-v2v found no virtio driver for this system; "
            "set bus: sata, or name the drivers: import.inject.virtioWin"
        )
    return paths


def _measure_qcow2(path: str) -> int:
    with open(path, "rb") as file:
        return find_capacity(file.read(files.START))


def _read_message(line: str) -> Mapping[str, str]:
    """Return a message of --machine-readable; nothing of what is none."""
    if not line.startswith("{"):
        return {}
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return {key: str(value) for key, value in message.items()} if isinstance(message, dict) else {}


def _explain_v2v(lines: List[str], status: int) -> ReconcilerError:
    messages = [_read_message(line) for line in lines]
    errors = [message.get("message", "") for message in messages if message.get("type") == "error"]
    words = " ".join(" ".join(errors or lines[-_LAST_LINES:]).split())
    if status < 0:
        return TransientError(f"virt-v2v was ended by signal {-status}; apply again")
    if "No space left" in words or "insufficient free space" in words:
        return FullError(f"virt-v2v: {words}")
    if any(known in words for known in _REFUSALS):
        return _RefusedByV2vError(words)
    return TransientError(
        f"virt-v2v: {words or 'it ended without a word'}; if its appliance does not start: "
        "libguestfs-test-tool"
    )
