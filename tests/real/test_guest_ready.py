"""`GuestReady` of a real guest by its real agent: what it tells, hides, and does when it hangs.

One boot for all of it: without KVM a boot takes longer than the rest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.host import connect
from reconciler.core.cloud_init import CloudInit
from reconciler.core.guest import AgentState, GuestView
from reconciler.core.machine import Disk, Interface
from reconciler.core.names import SeedMark
from reconciler.core.xmltree import parse
from reconciler.errors import TransientError
from reconciler.kinds.machine.domain.mark import read_owner
from tests.lab.guest import Guest, boot_overlays
from tests.lab.keys import vm
from tests.real.booting import LIMIT as BOOT_LIMIT
from tests.real.looping import Looping
from tests.real.scenarios import BASE
from tests.real.worlds import MIB, manifest_of

KEY, MAC = vm(BASE.name), "52:54:00:01:02:03"
CARD = Interface("lan", "default", mac=MAC, addresses=("192.168.122.50/24",))
DISKS = (*(BASE.disks or ()), Disk("data", "scsi", 32 * MIB, serial="DATA01"))
MACHINE = replace(
    BASE,
    guest_agent=True,
    disks=DISKS,
    cdroms=None,
    interfaces=(CARD,),
    overlays=boot_overlays(),
)
MANIFEST = replace(
    manifest_of(MACHINE),
    cloud_init=CloudInit(hostname="web01"),
    spec='{"lifecycle": {"deletion": "undefine"}}',
)
BLOCKED = "guest-exec,guest-exec-status,guest-file-open,guest-file-read,guest-file-close"
# The agent ends and comes back as Enterprise Linux has it, hangs, and comes back as it was: each as
# soon as the guest's cable is pulled or put back. Who may run nothing in a guest has no other sign.
CHANGE_AGENT = f"""exec </dev/null >/dev/null 2>&1
wait_for() {{ while [ "$(cat /sys/class/net/eth0/carrier)" != $1 ]; do sleep 0.1; done; }}
agent() {{ qemu-ga "$@" -m virtio-serial -p /dev/agent --retry-path -t /run & }}
sleep 1
kill -9 $(pidof qemu-ga)
wait_for 0
agent -b {BLOCKED}
wait_for 1
kill -STOP $(pidof qemu-ga)
wait_for 0
kill -9 $(pidof qemu-ga)
agent"""
RESULT = "/run/cloud-init/result.json"
NO_CLOUD_INIT = "cloud-init has not started"


def inside(looping: Looping) -> GuestView:
    """Return what the daemon knows of the guest."""
    return looping.record(BASE.name).inside or GuestView()


def look(looping: Looping) -> GuestView:
    """Have the guest looked into, as `retry` does, and return what was seen then."""
    looping.wait(lambda: not looping.loop.guests.lanes.longest(), "an earlier look is over")
    former = looping.meter.total("guest_look_seconds")
    looping.loop.guests.wake({KEY})
    looping.wait(lambda: looping.meter.total("guest_look_seconds") > former, "a look")
    looping.wait(lambda: not looping.loop.guests.lanes.longest(), "it is over")
    return inside(looping)


def find_seed(looping: Looping) -> SeedMark:
    """Return what the mark says of the seed."""
    xml = looping.virsh("dumpxml", "--inactive", BASE.name).stdout
    owner = read_owner(parse(xml))
    assert owner is not None
    assert owner.seed is not None
    return owner.seed


def set_link(looping: Looping, state: str) -> None:
    """Pull the guest's cable, or put it back."""
    looping.virsh("domif-setlink", BASE.name, MAC, state)


def test_a_guest_is_known_from_inside_and_a_hung_agent_delays_nothing(
    looping: Looping, monkeypatch: pytest.MonkeyPatch
) -> None:
    looping.publish(MANIFEST)
    looping.wait_ready(BASE.name)
    guest = Guest(looping.lab.uri(), BASE.name)
    guest.wait_ready(BOOT_LIMIT)
    looping.wait(lambda: inside(looping).report.answers, "its agent is heard of")

    see_a_fresh_guest(looping, guest)
    guest.ask("guest-exec", path="/bin/sh", arg=["-c", CHANGE_AGENT])
    see_the_agent_come_back(looping)
    with monkeypatch.context() as patience:
        patience.setattr(binding, "AGENT_SECONDS", 600)
        work_while_the_agent_hangs(looping)
    see_the_first_boot_end(looping, guest)


def see_a_fresh_guest(looping: Looping, guest: Guest) -> None:
    """See disks, but no address yet, and no cloud-init."""
    view = look(looping)
    assert view.ready is False
    assert "interface lan should have the address 192.168.122.50/24, has none" in view.reason
    assert NO_CLOUD_INIT in view.reason
    assert "disk" not in view.reason
    seen = {disk.device: disk for disk in view.report.disks}
    assert (seen["/dev/vda"].bus, seen["/dev/sda"].bus) == ("virtio", "scsi")
    assert seen["/dev/vda"].pci
    guest.exec("ip", "addr", "add", "192.168.122.50/24", "dev", "eth0")
    assert look(looping).reasons == (view.reasons[1],)


def see_the_agent_come_back(looping: Looping) -> None:
    """See it go and come back as libvirt announces it, and then without rights."""
    looping.wait(
        lambda: inside(looping).report.agent is AgentState.DISCONNECTED, "the agent is gone"
    )
    assert inside(looping).ready is False
    set_link(looping, "down")
    looping.wait(lambda: inside(looping).report.answers, "the agent is back")
    view = inside(looping)
    assert (view.ready, view.reason) == (
        True,
        "not seen: cloud-init (the guest's agent does not allow guest-file-open)",
    )
    assert {disk.device for disk in view.report.disks} == {"/dev/vda", "/dev/sda"}


def work_while_the_agent_hangs(looping: Looping) -> None:
    """Make a pass and a resync, and see a sign of life as the watchdog wants it, all meanwhile.

    libvirt waits for the agent in one call that lasts, and the end of the first boot, which a pass
    wants to know, is not known yet.
    """
    set_link(looping, "up")
    looping.wait(lambda: guest_hangs(looping), "the agent hangs")
    looping.loop.work.probed = -1.0
    looping.loop.probe()
    looping.publish(replace(MANIFEST, generation="other"))
    looping.wait_ready(BASE.name, "other")
    looping.loop.resync()
    looping.wait(lambda: looping.loop.work.probed > 0, "a sign of life")
    looping.wait_quiet()
    by_hand = connect(looping.lab.uri()).guests
    with pytest.raises(TransientError, match="the guest agent did not answer within 2 s"):
        by_hand.is_boot_finished(BASE.name, find_seed(looping).instance)
    assert looping.loop.guests.lanes.longest() > 0, "the look still hangs"
    set_link(looping, "down")
    looping.wait(lambda: inside(looping).report.agent is not AgentState.SILENT, "it ends")


def see_the_first_boot_end(looping: Looping, guest: Guest) -> None:
    """See cloud-init fail and say why, then finish, and the daemon take the seed away."""
    guest.wait_ready(BOOT_LIMIT)
    set_link(looping, "up")
    seed = find_seed(looping)
    instance = f"/var/lib/cloud/instances/{seed.instance}"
    guest.exec("sh", "-c", f"mkdir -p /run/cloud-init {instance}")
    said = '{"v1": {"errors": ["no network"]}}'
    guest.exec("sh", "-c", f"echo '{said}' >{RESULT}")
    view = look(looping)
    assert (view.ready, view.reasons[0][:29]) == (False, "cloud-init failed: no network")
    assert Path(seed.path).exists()
    guest.exec("sh", "-c", f"""echo '{{"v1": {{"errors": []}}}}' >{RESULT}""")
    guest.exec("sh", "-c", f"touch {instance}/boot-finished")
    view = look(looping)
    assert (view.ready, view.reason) == (True, "")
    assert view.report.find_addresses(MAC)[:1] == ("192.168.122.50/24",)
    looping.wait(lambda: not Path(seed.path).exists(), "the seed is gone")
    assert looping.record(BASE.name).condition("Ready").holds is True
    assert looping.journal.lines("guest")[-1] == "guest: GuestReady is True"


def guest_hangs(looping: Looping) -> bool:
    """Have the guest looked into; whether that look has been hanging for a second."""
    if not looping.loop.guests.lanes.longest():
        looping.loop.guests.wake({KEY})
    return bool(looping.loop.guests.lanes.longest() > 1)
