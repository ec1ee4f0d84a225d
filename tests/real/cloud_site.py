"""A site with a web server, a host and a person with a key: cloud images as a user meets them."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Collection, Dict, TypeVar

from tests.lab.cloud_image import USER, CloudImage
from tests.lab.host import LabHost
from tests.real.commands import Command

Found = TypeVar("Found")
LIMIT = 600.0  # seconds; three guests boot at once, without KVM, beside other tests
SSH = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "LogLevel=ERROR")
# The least work for a guest without KVM.
QUICK = ("-o", "KexAlgorithms=curve25519-sha256", "-o", "PreferredAuthentications=publickey")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# What is looked at inside, as one script: each line is a name and a value.
LOOK = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
say hostname "$(hostname)"
say fqdn "$(grep -o '^127.0.1.1.*' /etc/hosts | head -n 1)"
say machine_id "$(cat /etc/machine-id)"
say host_key "$(cat /etc/ssh/ssh_host_ed25519_key.pub)"
say addresses "$(ip -br -4 addr show scope global | awk '{$1=$2=""; print}' | xargs)"
say root_size "$(df --output=size -B 1M / | tail -n 1 | xargs)"
say deploy "$(id -nG deploy)"
say instance "$(basename "$(readlink -f /var/lib/cloud/instance)")"
say users_made "$(stat -c %Y /var/lib/cloud/instance/sem/config_users_groups)"
say runs "$(xargs </var/log/runs)"
say result "$(tr -d '\n' </run/cloud-init/result.json)"
say drives "$(lsblk -dnb -o NAME,TYPE,SIZE | grep rom | xargs)"
say boot_id "$(cat BOOT_ID)"
""".replace("BOOT_ID", BOOT_ID)


@dataclass
class Site:
    """What a person has: the command, a shell on the host, and a key pair."""

    lab: LabHost
    folder: Path
    image: CloudImage
    command: Command = field(init=False)

    def __post_init__(self) -> None:
        """Make the key."""
        self.command = Command(self.lab.uri(), self.folder)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key"], check=True
        )

    @property
    def public_key(self) -> str:
        """The line for `sshKeys`."""
        return (self.folder / "key.pub").read_text(encoding="ascii").strip()

    def write(self, name: str, text: str) -> None:
        """Write a manifest into the folder `m`."""
        folder = self.folder / "m"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    def address(self, name: str) -> str:
        """Return the address that the guest's agent reports first."""
        words = ("domifaddr", name, "--source", "agent", "--full")
        lines = [line.split() for line in self.lab.virsh(*words).stdout.splitlines()]
        found = [line[3].split("/")[0] for line in lines if line[2] == "ipv4" and line[0] != "lo"]
        assert found, f"{name} has no address: {lines}"
        return found[0]

    def ssh(self, name: str, script: str, user: str = USER) -> str:
        """Run a script in a guest, by the manifest's key; a changed host key is an error."""
        known = f"UserKnownHostsFile={self.folder}/known-{name}"
        keys = (
            "-i",
            str(self.folder / "key"),
            "-o",
            known,
            "-o",
            "StrictHostKeyChecking=accept-new",
        )
        words = ("nsenter", "-t", str(self.lab.pid()), "-n", "ssh", *SSH, *QUICK, *keys)
        done = subprocess.run(
            [*words, f"{user}@{self.address(name)}", "sh", "-s"],
            input=script, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ssh {user}@{name}: {done.stderr}{done.stdout}"
        return done.stdout

    def look(self, name: str) -> Dict[str, str]:
        """Return what is to be seen inside, by name."""
        rows = [line.partition("\t") for line in self.ssh(name, LOOK).splitlines()]
        return {key: value for key, _, value in rows}

    def in_each(self, function: Callable[[str], Found], names: Collection[str]) -> Dict[str, Found]:
        """Return what a function returns for each guest, all at a time."""
        with ThreadPoolExecutor(len(names)) as threads:
            return dict(zip(names, threads.map(function, names)))

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s in vain until {what}"
            time.sleep(2)

    def wait_finished(self, name: str) -> None:
        """Wait until cloud-init has finished this boot, as the agent says: that costs the guest least."""
        ask = {"execute": "guest-file-open", "arguments": {"path": "/run/cloud-init/result.json"}}
        command = ("qemu-agent-command", name, json.dumps(ask), "--timeout", "5")

        def has_finished() -> bool:
            return self.lab.virsh(*command, check=False).returncode == 0

        self.wait(has_finished, f"cloud-init has finished in {name}")

    def is_off(self, name: str) -> bool:
        """Whether the guest is shut off."""
        return self.lab.virsh("domstate", name).stdout.strip() == "shut off"
