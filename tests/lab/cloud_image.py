"""Build a cloud-style image of Debian: what a distributor publishes, small enough to boot without KVM.

It has the packages of systemd, udev, OpenSSH, cloud-init, QEMU's guest agent and the kernel for clouds, a
boot loader in a partition that can grow, no identity: an empty machine-id, no host keys, no user who
could log in. What makes a boot slow without KVM is left out, and nothing of what cloud-init does for
its user data. The image is kept in the project's cache, below a digest of this recipe and of the
packages' versions. Needs root, and once the mirror that the machine's apt is configured with.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Mapping

from tests.lab.guest_image import CACHE, locked

PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "iproute2", "netbase", "sudo", "openssh-server"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs", "qemu-guest-agent"),
    *("linux-image-cloud-amd64", "initramfs-tools", "lz4"),
)  # fmt: skip
WITHOUT = ("doc", "man", "info", "locale", "zoneinfo", "bash-completion", "i18n", "common-licenses")
SIZE = 720  # MiB
START = 2048  # sectors, of the partition
USER = "debian"
# As in the tests' other guest: what a boot without KVM is spared.
COMMAND_LINE = (
    "root=LABEL=root rw console=ttyS0 quiet panic=-1 edd=off mitigations=off nokaslr no_timer_check "
    "rodata=off init_on_alloc=0 cryptomgr.notests apparmor=0 audit=0 fsck.mode=skip"
)
LOADER = """\
DEFAULT linux
PROMPT 0
LABEL linux
  LINUX ../vmlinuz
  INITRD ../initrd.img
  APPEND {}
"""
# The modules that do what a manifest can ask for. Each other one would be imported in vain, by a
# Python that takes ten times as long here.
CLOUD = f"""\
disable_root: true
users: [default]
ssh_genkeytypes: [ed25519]
datasource_list: [NoCloud, ConfigDrive, OpenStack, None]
cloud_init_modules: [bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname,
  update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance,
  scripts-user, final-message]
output: {{all: '>> /var/log/cloud-init-output.log'}}
system_info:
  distro: debian
  network: {{renderers: [networkd]}}
  default_user: {{name: {USER}, lock_passwd: true, groups: [adm, sudo], shell: /bin/bash,
    sudo: ['ALL=(ALL) NOPASSWD:ALL']}}
  paths: {{cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}}
  ssh_svcname: ssh
"""
FILES: Mapping[str, str] = {
    "etc/fstab": "LABEL=root / ext4 defaults,noatime 0 0\n",
    "etc/hostname": "localhost\n",
    "etc/machine-id": "",
    "etc/cloud/cloud.cfg": CLOUD,
    "boot/extlinux/extlinux.conf": LOADER.format(COMMAND_LINE),
    "etc/systemd/journald.conf.d/small.conf": "[Journal]\nStorage=volatile\nMaxLevelStore=notice\n",
}
INITRAMFS: Mapping[str, str] = {
    "conf.d/small": "MODULES=list\nCOMPRESS=lz4\n",
    "modules": "virtio_pci\nvirtio_blk\nvirtio_scsi\nsr_mod\next4\n",
}
APT = ('Acquire::Retries "5"', 'APT::Install-Recommends "false"')
# Nothing of it has to do with a first boot.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("fstrim.timer", "e2scrub_reap.service", "systemd-pstore.service", "systemd-timesyncd.service"),
    *("getty@tty1.service", "cloud-init-hotplugd.socket", "systemd-binfmt.service"),
    *("systemd-network-generator.service", "systemd-random-seed.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "kmod-static-nodes.service"),
    *("modprobe@loop.service", "modprobe@dm_mod.service", "systemd-modules-load.service"),
    *("systemd-remount-fs.service", "systemd-sysctl.service", "systemd-sysusers.service"),
    *("modprobe@configfs.service", "modprobe@drm.service", "modprobe@fuse.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "systemd-journal-flush.service"),
)  # fmt: skip
BOOT_CODE = "/usr/lib/EXTLINUX/mbr.bin"
LOADER_MODULE = "/usr/lib/syslinux/modules/bios/ldlinux.c32"
ATTEMPTS, PAUSE = 3, 10  # a mirror may be away for some seconds


@dataclass(frozen=True)
class CloudImage:
    """The image, in qcow2, and the checksum that a distributor publishes beside it."""

    path: Path
    sha256: str

    @property
    def size(self) -> int:
        """Return the size of the disk in bytes."""
        return SIZE * 2**20


@cache
def build_cloud_image(folder: Path = CACHE / "cloud-image") -> CloudImage:
    """Return the image, built once; several processes may ask at the same time."""
    with locked(folder):
        image = folder / f"{_digest()}.qcow2"
        if not image.exists():
            for former in folder.glob("*.qcow2"):
                former.unlink()
            with tempfile.TemporaryDirectory(dir=folder) as work:
                _build(Path(work)).rename(image)
        return CloudImage(image, hashlib.sha256(image.read_bytes()).hexdigest())


def _digest() -> str:
    """Return a digest of the recipe, and of the versions that apt would install."""
    versions = _run("apt-cache", "show", "--no-all-versions", *PACKAGES, "python3", "libc6")
    known = [line for line in versions.splitlines() if line.startswith(("Package:", "Version:"))]
    recipe = Path(__file__).read_bytes()
    return hashlib.sha256(recipe + "\n".join(known).encode()).hexdigest()[:16]


def _build(work: Path) -> Path:
    root, raw, image = work / "root", work / "disk.raw", work / "disk.qcow2"
    for attempt in range(ATTEMPTS):
        try:
            _install(root)
            break
        except subprocess.CalledProcessError:
            if attempt == ATTEMPTS - 1:
                raise
            shutil.rmtree(root, ignore_errors=True)
            time.sleep(PAUSE)
    _fill(root)
    _write_disk(root, raw, work)
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    return image


def _install(root: Path) -> None:
    """Install the packages, with what they need, from where the machine's own apt has them."""
    initramfs = root.with_name("initramfs-tools")
    for name, text in INITRAMFS.items():
        (initramfs / name).parent.mkdir(parents=True, exist_ok=True)
        (initramfs / name).write_text(text, encoding="ascii")
    line = "deb $(SITE) $(RELEASE) $(COMPONENT)"
    chosen = ("Created-By: Packages", "Origin: Debian")
    sources = _run("apt-get", "indextargets", "--format", line, *chosen)
    suite = min((line.split()[2] for line in sources.splitlines()), key=len)
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in WITHOUT]
    options += [f"--aptopt={name}" for name in APT]
    options += ['--setup-hook=mkdir -p "$1/etc"', f"--setup-hook=copy-in {initramfs} /etc"]
    words = ("--mode=root", "--variant=apt", "--skip=check/qemu", "--dpkgopt=force-unsafe-io")
    packages = f"--include={','.join(PACKAGES)}"
    _run("mmdebstrap", *words, *options, packages, suite, str(root), "-", text=sources)


def _fill(root: Path) -> None:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    _run("systemctl", f"--root={root}", "enable", "systemd-networkd.service")
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    shutil.copy(LOADER_MODULE, root / "boot/extlinux")
    for name in ("vmlinuz", "initrd.img"):
        [file] = root.glob(f"boot/{name}-*")
        file.rename(root / "boot" / name)


def _write_disk(root: Path, raw: Path, work: Path) -> None:
    """Write a disk with a boot loader and one partition, which can grow."""
    with raw.open("wb") as file:
        file.write(Path(BOOT_CODE).read_bytes())
        file.truncate(SIZE * 2**20)
    table = f"label: dos\nstart={START}, type=83, bootable\n"
    _run("sfdisk", "-q", str(raw), text=table)
    offset = START * 512
    # The boot loader reads neither 64-bit block numbers nor checksums.
    features = ("-O", "^64bit,^metadata_csum", "-E", f"offset={offset}", "-m", "0")
    size = f"{SIZE - offset // 2**20}M"
    _run("mkfs.ext4", "-q", "-F", "-L", "root", *features, "-d", str(root), str(raw), size)
    mount = work / "mount"
    mount.mkdir()
    _run("mount", "-o", f"loop,offset={offset}", str(raw), str(mount))
    try:
        _run("extlinux", "--install", str(mount / "boot/extlinux"))
    finally:
        _run("umount", str(mount))


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"{command}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}\n")
        done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    print(build_cloud_image().path)  # noqa: T201 - a command's output
