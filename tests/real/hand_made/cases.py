"""One change of a machine made by hand, and the lines of its definition that are about it. No test is here.

`@IMAGES@` stands for the folder of the pool `default`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

# Devices as they are, for lists of which one member is changed.
ONE, TWO = {"source": {"path": "@IMAGES@/one.qcow2"}}, {"source": {"path": "@IMAGES@/two.img"}}
Q35_DISKS = ({"name": "vda", **ONE}, {"name": "sda", **TWO})
PC_DISKS = ({"name": "mine", **ONE}, {"name": "vdb", **TWO})
DRIVER = (
    "<driver name='qemu' type='qcow2' cache='none' error_policy='stop' iothread='2' queues='2'/>"
)


def one_of(devices: Tuple[Dict[str, Any], ...], index: int, **fields: Any) -> List[Dict[str, Any]]:
    """Return the devices with one of them changed."""
    return [{**device, **(fields if at == index else {})} for at, device in enumerate(devices)]


NICS = (
    {"name": "lan", "network": "default", "mac": "52:54:00:aa:00:01"},
    {"name": "other-tool", "bridge": "br0"},
)

# machine, fields, lines that go, lines that come
CASES: Dict[str, Tuple[str, Dict[str, Any], List[str], List[str]]] = {
    "nothing": ("q35", {}, [], []),
    "nothing on pc": ("pc", {}, [], []),
    "autostart": ("pc", {"autostart": True}, [], []),
    "what is so already": (
        "q35",
        {"console": True, "graphics": "vnc", "video": "bochs", "rng": True, "machine": "q35",
         "firmware": "bios", "cpus": {"count": 2, "maximum": 4, "sockets": 2, "cores": 2},
         "memory": {"size": "256MiB", "maximum": "512MiB"}, "disks": list(Q35_DISKS)},
        [], [],
    ),
    "what is so already on pc": (
        "pc",
        {"console": True, "graphics": "spice", "video": "qxl", "guestAgent": True, "tpm": False,
         "cpus": {"count": 1, "maximum": 2}, "memory": {"size": "384MiB", "maximum": "640MiB"},
         "disks": list(PC_DISKS)},
        [], [],
    ),
    "memory": (
        "q35", {"memory": "300MiB"},
        ["<currentMemory unit='KiB'>262144</currentMemory>"],
        ["<currentMemory unit='KiB'>307200</currentMemory>"],
    ),
    "memory beside cells and modules": (
        "pc", {"memory": "500MiB"},
        ["<currentMemory unit='KiB'>393216</currentMemory>"],
        ["<currentMemory unit='KiB'>512000</currentMemory>"],
    ),
    "cpus": (
        "q35", {"cpus": 3},
        ["<vcpu placement='static' cpuset='0-1' current='2'>4</vcpu>"],
        ["<vcpu placement='static' cpuset='0-1' current='3'>4</vcpu>"],
    ),
    "cpus one by one": (
        "pc", {"cpus": 2},  # in which order they were plugged is said of all of them or of none
        ["<vcpu placement='auto' current='1'>2</vcpu>",
         "<vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>",
         "<vcpu id='1' enabled='no' hotpluggable='yes'/>"],
        ["<vcpu placement='auto'>2</vcpu>",
         "<vcpu id='0' enabled='yes' hotpluggable='no'/>",
         "<vcpu id='1' enabled='yes' hotpluggable='yes'/>"],
    ),
    "machine": (
        "q35", {"machine": "pc-q35-7.1"},
        ["<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>"],
        ["<type arch='x86_64' machine='pc-q35-7.1'>hvm</type>"],
    ),
    "cache": (
        "q35", {"disks": one_of(Q35_DISKS, 0, cache="writeback")},
        [DRIVER], [DRIVER.replace("none", "writeback")],
    ),
    "serial": (
        "pc", {"disks": one_of(PC_DISKS, 1, serial="S-2")}, [], ["<serial>S-2</serial>"],
    ),
    "bus": (
        "q35", {"disks": one_of(Q35_DISKS, 0, bus="usb")},
        [DRIVER, "<target dev='vda' bus='virtio'/>",
         "<address type='pci' domain='0x0000' bus='0x08' slot='0x00' function='0x0'/>"],
        [DRIVER.replace(" iothread='2' queues='2'", ""), "<target dev='sdc' bus='usb'/>",
         "<alias name='ua-vda'/>", "<address type='usb' bus='0' port='3'/>"],
    ),
    "medium": (
        "pc", {"cdroms": [{"name": "hdc", "media": "@IMAGES@/two.img"}]},
        [], ["<source file='@IMAGES@/two.img'/>"],
    ),
    "link": (
        "q35", {"interfaces": one_of(NICS, 0, link="down")}, [], ["<link state='down'/>"],
    ),
    "link with a VLAN": (
        "q35", {"interfaces": one_of(NICS, 1, link="up")},
        ["<link state='down'/>"], ["<link state='up'/>"],
    ),
    "agent": (
        "q35", {"guestAgent": True}, [],
        ["<channel type='unix'>",  "<target type='virtio' name='org.qemu.guest_agent.0'/>",
         "<address type='virtio-serial' controller='0' bus='0' port='3'/>", "</channel>"],
    ),
    "no drive": (
        "pc", {"cdroms": []},
        ["<boot dev='cdrom'/>",
         "<disk type='file' device='cdrom'>", "<driver name='qemu' type='raw'/>",
         "<target dev='hdc' bus='ide' tray='open'/>", "<readonly/>",
         "<address type='drive' controller='0' bus='1' target='0' unit='0'/>", "</disk>"],
        [],
    ),
    "no generator": (
        "q35", {"rng": False},
        ["<rng model='virtio'>", "<rate bytes='1234' period='2000'/>",
         "<backend model='random'>/dev/random</backend>",
         "<address type='pci' domain='0x0000' bus='0x0a' slot='0x00' function='0x0'/>", "</rng>",
         "<rng model='virtio'>", "<backend model='builtin'/>",
         "<address type='pci' domain='0x0000' bus='0x0b' slot='0x00' function='0x0'/>", "</rng>"],
        [],
    ),
    "a TPM": (
        "pc", {"tpm": True}, [],
        ["<tpm model='tpm-crb'>", "<backend type='emulator' version='2.0'/>", "</tpm>"],
    ),
    "another card": (
        "q35", {"video": "vga"},
        ["<model type='bochs' vram='16384' heads='1' primary='yes'/>"],
        ["<model type='vga' vram='16384' heads='1' primary='yes'/>"],
    ),
    "stats": (
        "q35",
        {"xml": [{"xpath": "/domain/devices/memballoon", "fragment": "<stats period='3'/>"}]},
        ["<stats period='9'/>"], ["<stats period='3'/>"],
    ),
}  # fmt: skip

AS_IT_IS = {
    "q35": {**CASES["what is so already"][1], "interfaces": list(NICS)},
    "pc": CASES["what is so already on pc"][1],
}
