"""Files of other hypervisors': archives, descriptions, images. They are strangers', and only read.

What a file is is decided by its first bytes, and then by qemu-img under limits. An OVA is a tar
archive: nothing is unpacked, qemu-img reads an image where it lies in the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import subprocess
import tarfile
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping

from reconciler.core.foreign_machines import read_ovf, read_vmx, refuse_path
from reconciler.core.frozen import frozen, regex
from reconciler.core.image_headers import MAGIC, find_flaw
from reconciler.core.imports import (
    DISK,
    FORMATS,
    OVA,
    FileStamp,
    ForeignImage,
    ForeignSource,
)
from reconciler.errors import MissingError, ReconcilerError, TerminalError

BLOCK = 2**20
START = 1024  # bytes in which a file shows what it is
MOST_TEXT = 16 * 2**20  # bytes of a description
MOST_MEMBERS = 1000
PROBE_LIMIT = 120.0  # seconds
_LIMITS = ("prlimit", "--as=2147483648", "--cpu=60")  # of qemu-img on a stranger's file
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
_ENDINGS: Mapping[str, str] = {
    ".vmdk": "vmdk", ".vhdx": "vhdx", ".vdi": "vdi", ".vhd": "vpc", ".qcow2": "qcow2",
    ".raw": "raw", ".img": "raw", ".dd": "raw",
}  # fmt: skip
_MAGIC = (
    (b"KDMV", "vmdk"), (b"COWD", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"),
    (MAGIC, "qcow2"), (b"QED\0", "qed"),
)  # fmt: skip
_SUM = regex(r"(?P<kind>SHA1|SHA256|SHA512)\s*\((?P<name>[^)]+)\)\s*=\s*(?P<sum>[0-9a-fA-F]+)")
_LEFT = "remove its snapshots in VMware first (delete all), or import a full clone"


@frozen
class Member:
    """A file in an archive: its bytes begin at `offset`. A file of its own begins at 0."""

    name: str
    path: str
    offset: int
    size: int
    is_alone: bool = False


def inspect(kind: str, image_format: str, path: str) -> ForeignSource:
    """Return what is in a file of that kind. Raises TerminalError, MissingError."""
    stamp = read_stamp(path)
    try:
        if kind == OVA:
            return _inspect_ova(stamp)
        if kind == DISK:
            member = Member(os.path.basename(path), path, 0, stamp.size, is_alone=True)
            return ForeignSource(stamp, (_inspect_image(member, image_format),))
        return _inspect_vmx(stamp)
    except ReconcilerError as error:
        if str(error).startswith(path):
            raise
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror}") from error


def read_stamp(path: str) -> FileStamp:
    """Return what a file is known again by. Raises MissingError, TerminalError."""
    try:
        found = os.stat(path)
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise MissingError(f"{path}: there is no such file on this host") from error
    except OSError as error:
        raise MissingError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        raise TerminalError(f"{path}: is not a file")
    size = found.st_size or _measure_device(path)
    return FileStamp(path, size, found.st_mtime_ns)


def _measure_device(path: str) -> int:
    with open(path, "rb") as file:
        return file.seek(0, os.SEEK_END)


def refuse_changed(stamp: FileStamp) -> None:
    """Raise TerminalError if a file is another one than it was."""
    if read_stamp(stamp.path) != stamp:
        raise TerminalError(f"{stamp.path}: was changed since the plan was made; plan again")


# Archives


def list_members(path: str) -> Mapping[str, Member]:
    """Return the files of an OVA, in their order. Raises TerminalError for what may not be one."""
    size = read_stamp(path).size
    found: Dict[str, Member] = {}
    with open(path, "rb") as file:
        if file.read(START).startswith(_PACKED):
            raise TerminalError("is packed; unpack it first: an OVA is a plain tar archive")
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                if not entry.isreg() or entry.issparse():
                    raise TerminalError(f"has {entry.name!r}, which is not a plain file")
                refuse_path(entry.name.removeprefix("./"), "it")
                name = os.path.basename(entry.name)
                if name in found or len(found) >= MOST_MEMBERS:
                    raise TerminalError(f"has {name!r} twice, or more than {MOST_MEMBERS} files")
                if entry.offset_data + entry.size > size:
                    raise TerminalError(f"is cut off in {name}; copy it again")
                found[name] = Member(name, path, entry.offset_data, entry.size)
    except tarfile.TarError as error:
        raise TerminalError(f"is not a whole tar archive ({error}); copy it again") from error
    return found


def _inspect_ova(stamp: FileStamp) -> ForeignSource:
    members = list_members(stamp.path)
    descriptions = [member for name, member in members.items() if name.lower().endswith(".ovf")]
    if len(descriptions) != 1:
        raise TerminalError(f"has {len(descriptions)} files *.ovf, and an OVA has one")
    machine = read_ovf(_read_text(descriptions[0]))
    for name in machine.disks:
        if name not in members:
            raise TerminalError(f"its OVF names {name}, which is not in it")
    images = tuple(_inspect_image(members[name]) for name in machine.disks)
    is_checked = any(name.lower().endswith(".mf") for name in members)
    return ForeignSource(stamp, images, machine, is_checked)


def _inspect_vmx(stamp: FileStamp) -> ForeignSource:
    machine = read_vmx(_read_text(Member("", stamp.path, 0, stamp.size)))
    folder = os.path.dirname(stamp.path)
    images: List[ForeignImage] = []
    for name in machine.disks:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            raise MissingError(f"names the disk {name}, which is not beside it in {folder}")
        images.append(_inspect_image(Member(name, path, 0, read_stamp(path).size, is_alone=True)))
    return ForeignSource(stamp, tuple(images), machine)


def _read_text(member: Member) -> str:
    if member.size > MOST_TEXT:
        raise TerminalError(f"{member.name} is too large for a description of a machine")
    data = b"".join(read_blocks(member))
    named = regex(r'\s*\.encoding\s*=\s*"([\w-]+)"', 0).search(data[:BLOCK].decode("latin-1"))
    for encoding in ("utf-8-sig", named[1] if named else "latin-1", "latin-1"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("latin-1")


def read_blocks(member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member. Raises TerminalError if it ends too early."""
    with open(member.path, "rb") as file:
        file.seek(member.offset)
        left = member.size
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise TerminalError(f"{member.name} is cut off; copy it again")
            left -= len(block)
            yield block


# Checksums


def digest_file(stamp: FileStamp, tell: Callable[[int, int], None]) -> str:
    """Return the SHA-256 of a whole file."""
    return _digest("sha256", Member(stamp.path, stamp.path, 0, stamp.size), tell, 0, stamp.size)


def verify_members(path: str, tell: Callable[[int, int], None]) -> None:
    """Verify the checksums that an OVA brings along. Raises TerminalError."""
    members = list_members(path)
    lists = [member for name, member in members.items() if name.lower().endswith(".mf")]
    found = [parts for member in lists for parts in _SUM.finditer(_read_text(member))]
    total = sum(members[parts["name"]].size for parts in found if parts["name"] in members)
    done = 0
    for parts in found:
        member = members.get(parts["name"])
        if member is None:
            raise TerminalError(f"{path}: its checksums name {parts['name']}, which is not in it")
        if _digest(parts["kind"].lower(), member, tell, done, total) != parts["sum"].lower():
            raise TerminalError(
                f"{path}: {member.name} is damaged: its {parts['kind']} is not the one that the "
                "OVA has for it; copy the OVA again"
            )
        done += member.size


def _digest(
    kind: str, member: Member, tell: Callable[[int, int], None], before: int, total: int
) -> str:
    made, done = hashlib.new(kind, usedforsecurity=False), before
    for block in read_blocks(member):
        made.update(block)
        done += len(block)
        tell(done, total)
    return made.hexdigest()


# Images


def detect_format(file: BinaryIO, offset: int, size: int) -> str:
    """Return the format that an image shows by its magic; raw for none."""
    file.seek(offset)
    start = file.read(min(START, size))
    if start.startswith(_PACKED):
        return "packed"
    for magic, found in _MAGIC:
        if start.startswith(magic):
            return found
    if start.lstrip().startswith(b"# Disk DescriptorFile"):
        return "vmdk"
    if len(start) >= 68 and struct.unpack_from("<I", start, 64)[0] == 0xBEDA107F:  # noqa: PLR2004
        return "vdi"
    if size >= 512:  # noqa: PLR2004 - a fixed VHD has its header at its end
        file.seek(offset + size - 512)
        if file.read(8) == b"conectix":
            return "vpc"
    return "raw"


def _inspect_image(member: Member, image_format: str = "") -> ForeignImage:
    if os.path.isdir(f"{member.path}.lck") and member.is_alone:
        raise MissingError(
            f"{member.name} is in use by VMware ({member.name}.lck is there); shut the machine "
            "down, and close VMware"
        )
    with open(member.path, "rb") as file:
        found = detect_format(file, member.offset, member.size)
        file.seek(member.offset)
        start = file.read(START)
    _refuse_format(member, image_format, found)
    flaw = find_flaw(start, found) if found == "qcow2" else ""
    if flaw:
        raise TerminalError(f"{member.name}: {flaw}")
    place = f"json:{json.dumps({'driver': found, 'file': _open_place(member)})}"
    info = _ask_qemu(member, ["info", "--output=json", place])
    stamps = tuple(_find_stamps(member, info))
    measured = _ask_qemu(member, ["measure", "--output=json", "-O", "qcow2", place])
    return ForeignImage(
        name=member.name,
        format=found,
        capacity=int(info["virtual-size"]),
        data=int(measured["required"]),
        place=place,
        stamps=stamps,
    )


def _open_place(member: Member) -> Mapping[str, Any]:
    is_device = stat.S_ISBLK(os.stat(member.path).st_mode)
    file = {"driver": "host_device" if is_device else "file", "filename": member.path}
    if member.is_alone:
        return file
    return {"driver": "raw", "offset": member.offset, "size": member.size, "file": file}


def _refuse_format(member: Member, claimed: str, found: str) -> None:
    """Raise TerminalError if an image is not what it is said to be."""
    if found == "packed":
        raise TerminalError(f"{member.name} is packed; unpack it first")
    if found not in FORMATS:
        raise TerminalError(
            f"{member.name} is {found}, which is not imported; convert it: qemu-img convert"
        )
    ending = _ENDINGS.get(os.path.splitext(member.name)[1].lower(), "")
    if claimed and claimed != found:
        raise TerminalError(f"{member.name} is {found}, not {claimed} as the manifest has it")
    if not claimed and ending and ending != found:
        what = "has no header of" if found == "raw" else f"is {found}, not"
        raise TerminalError(
            f"{member.name} {what} {ending} as its name says; copy it again, or set "
            f"import.format: {found}"
        )
    if not claimed and not ending and found == "raw":
        raise TerminalError(
            f"{member.name} shows no format; if it is a raw image, set import.format: raw"
        )


def _find_stamps(member: Member, info: Mapping[str, Any]) -> Iterator[FileStamp]:
    """Yield every file that is read for an image. Raises TerminalError for one elsewhere."""
    if info.get("backing-filename"):
        raise TerminalError(
            f"{member.name} lies over {os.path.basename(str(info['backing-filename']))!r}, so it "
            f"is not complete; {_LEFT}"
        )
    data = info.get("format-specific", {}).get("data", {})
    if data.get("data-file") or data.get("encrypt"):
        raise TerminalError(f"{member.name} is encrypted, or has its data in another file")
    if data.get("parent-cid", 0xFFFFFFFF) != 0xFFFFFFFF:  # noqa: PLR2004
        raise TerminalError(f"{member.name} is a snapshot over another image; {_LEFT}")
    paths = {member.path}
    if member.is_alone:
        paths |= {str(extent["filename"]) for extent in data.get("extents", ())}
    elif any('"offset"' not in str(extent["filename"]) for extent in data.get("extents", ())):
        raise TerminalError(f"{member.name} has its data in other files")
    folder = os.path.realpath(os.path.dirname(member.path))
    for path in sorted(paths):
        real = os.path.realpath(path)
        if path != member.path and os.path.dirname(real) != folder:
            raise TerminalError(f"{member.name} has its data in {path}, which is not beside it")
        yield read_stamp(path)


def _ask_qemu(member: Member, words: List[str]) -> Mapping[str, Any]:
    try:
        done = subprocess.run(
            [*_LIMITS, "qemu-img", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PROBE_LIMIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(f"qemu-img does not work: {error}") from error
    if done.returncode:
        raise explain_qemu(member.name, done.stderr)
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


def explain_qemu(name: str, text: str) -> ReconcilerError:
    """Return our error for what qemu-img says of an image."""
    lines = [line for line in text.splitlines() if line.strip()]
    words = lines[-1].rpartition("'}: ")[2].rpartition('}": ')[2] if lines else "no word"
    words = words.rpartition("}': ")[2].replace("qemu-img: ", "")
    if "Failed to get" in text and "lock" in text:
        return MissingError(f"{name} is written to by a running machine; shut that down first")
    if "No such file" in text:
        return MissingError(f"{name}: one of its files is missing: {words}")
    return TerminalError(f"{name} cannot be read as an image: {words}; copy it again")
