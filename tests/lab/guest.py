"""Ask the running guest what it sees, through its agent: the only honest witness of an effect."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, List, Mapping, Tuple

import libvirt
import libvirt_qemu

from reconciler.core.machine import Overlay
from tests.lab.guest_image import COMMAND_LINE, build_guest, lack_driver

EXEC_LIMIT = 120  # seconds that a program may run in the guest
POLL = 0.1  # seconds
ANSWER_LIMIT = 60  # seconds that the agent may take to answer
# After which parts of the limit a guest is started again that does not answer: a busy machine may
# only be slow, and then the next start has more time.
PATIENCE = (1 / 8, 3 / 8)
# The serial of what has none is empty; where a device is plugged in says its path.
BLOCK_DEVICES = """cd /sys/block
for d in *; do
  serial=
  read -r size <$d/size
  read -r ro <$d/ro
  [ -e $d/serial ] && read -r serial <$d/serial
  echo "$d|$size|$ro|$serial|$(readlink $d)"
done"""
NO_ROOM = "dmesg | grep -c 'Unable to map lapic to logical cpu number'"
INTERFACES = """cd /sys/class/net
for n in *; do
  driver=$(readlink $n/device/driver)
  read -r mac <$n/address
  echo $mac $n ${driver##*/}
done"""


def boot_overlays(
    *, packed: bool = False, tools: Tuple[str, ...] = (), lacking: str = ""
) -> Tuple[Overlay, ...]:
    """Return what makes any machine boot the test's kernel, unpacked (quicker) or as packed.

    `tools` are programs of this machine that the guest has as well, `lacking` is a driver that the
    initramfs has not, and the running system has.
    """
    image = build_guest(tools=tools)
    initrd = lack_driver(image, lacking) if lacking else image.initrd
    return (
        Overlay("/domain/os", f"<kernel>{image.bzimage if packed else image.kernel}</kernel>"),
        Overlay("/domain/os", f"<initrd>{initrd}</initrd>"),
        Overlay("/domain/os", f"<cmdline>{COMMAND_LINE}</cmdline>"),
    )


@dataclass(frozen=True)
class Guest:
    """One running guest of a host."""

    uri: str
    name: str

    @cached_property
    def _connection(self) -> Any:
        return libvirt.open(self.uri)

    def ask(self, command: str, limit: int = ANSWER_LIMIT, **arguments: Any) -> Any:
        """Send one command to the agent and return its answer."""
        domain = self._connection.lookupByName(self.name)
        text = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, limit, 0))["return"]

    def wait_ready(self, limit: float) -> None:
        """Wait until the agent answers.

        Without KVM one boot in some forty of the unpacked kernel finds its PCI devices asleep
        ("Unable to change power state from D3cold"), the agent's channel too; it is reset then.
        """
        begun = time.monotonic()
        for part in PATIENCE:
            if self._is_ready(begun + part * limit):
                return
            self._connection.lookupByName(self.name).reset()
        if not self._is_ready(begun + limit):
            self.ask("guest-ping", 1)

    def wait_answers(self, limit: float) -> None:
        """Wait until the agent of a running system answers again; it is never reset."""
        if not self._is_ready(time.monotonic() + limit):
            self.ask("guest-ping", 1)

    def _is_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            with suppress(libvirt.libvirtError):
                self.ask("guest-ping", 1)
                return True
            time.sleep(POLL)
        return False

    def exec(self, *command: str) -> str:
        """Run a program in the guest and return what it prints."""
        path, *rest = command
        full = path if path.startswith("/") else f"/bin/{path}"
        started = self.ask("guest-exec", path=full, arg=rest, **{"capture-output": True})
        deadline = time.monotonic() + EXEC_LIMIT
        while True:
            status = self.ask("guest-exec-status", pid=started["pid"])
            if status["exited"]:
                return base64.b64decode(status.get("out-data", "")).decode()
            assert time.monotonic() < deadline, f"{command} does not end"
            time.sleep(0.02)

    def disk(self, size: int) -> Mapping[str, str]:
        """Return what the guest sees of its disk of that size, nothing if there is none."""
        found = [one for one in self._block_devices() if one["size"] == str(size // 512)]
        return found[0] if found else {}

    def drives(self) -> List[Mapping[str, str]]:
        """Return the guest's CD-ROM drives."""
        return [one for one in self._block_devices() if one["name"].startswith("sr")]

    def _block_devices(self) -> List[Mapping[str, str]]:
        lines = [line.split("|") for line in self.exec("sh", "-c", BLOCK_DEVICES).splitlines()]
        return [
            dict(zip(("name", "size", "ro", "serial", "bus"), (*rest, _bus(path))))
            for *rest, path in lines
        ]

    def drivers(self) -> Mapping[str, str]:
        """Return MAC → driver of the guest's network interfaces, loopback left out."""
        return {mac: driver for mac, _, driver in self._interfaces()}

    def _interfaces(self) -> List[List[str]]:
        # MAC, name, driver: loopback has no driver.
        lines = [line.split() for line in self.exec("sh", "-c", INTERFACES).splitlines()]
        return [line for line in lines if len(line) == 3]

    def carrier(self, mac: str) -> bool:
        """Whether the guest sees a link."""
        [name] = [name for one, name, _ in self._interfaces() if one == mac]
        return self.exec("cat", f"/sys/class/net/{name}/carrier").strip() == "1"

    def online_cpus(self) -> int:
        """Count the processors that the guest uses."""
        return int(self.exec("grep", "-c", "^processor", "/proc/cpuinfo"))

    def processors(self) -> int:
        """Count the processors that the guest uses, and those that were plugged in but cannot be used.

        Without KVM, Linux 6.12 of 2026 assumes real hardware and reserves no room for processors that
        are absent at boot. It logs a message for each one that is plugged in later.
        """
        return self.online_cpus() + int(self.exec("sh", "-c", NO_ROOM))

    def memory_kib(self) -> int:
        """Return the memory that the guest has."""
        first = self.exec("head", "-n1", "/proc/meminfo")
        return int(first.split()[1])

    def media_size(self) -> int:
        """Return the bytes that the guest can read of the media in all its drives."""
        script = "for d in /dev/sr*; do dd if=$d bs=64k 2>/dev/null; done | wc -c"
        return int(self.exec("sh", "-c", script))

    def boot_id(self) -> str:
        """Return what changes with every start of the guest."""
        return self.exec("cat", "/proc/sys/kernel/random/boot_id").strip()


def _bus(path: str) -> str:
    """Return the bus of a device by its path in the guest's /sys."""
    for mark, bus in (("/usb", "usb"), ("/ata", "sata"), ("/host", "scsi"), ("/virtio", "virtio")):
        if mark in path:
            return bus
    return ""
