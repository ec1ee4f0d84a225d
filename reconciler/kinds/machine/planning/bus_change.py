"""How far a staged bus change is: a pure function of the mark, the domain and the guest's answer.

The mark of ownership remembers what nothing else tells: that the guest has shown the helper disk,
when the disks were moved, how they were before. Everything else is seen anew in each plan.
"""

from __future__ import annotations

import shlex
from enum import Enum
from typing import Iterator, Mapping, Optional, Sequence, Tuple

from reconciler.core.field_table import GUEST_AGENT_CHANNEL
from reconciler.core.frozen import frozen, replace
from reconciler.core.guest import (
    DISKS,
    INTERFACES,
    STORAGE_DRIVERS,
    AgentState,
    GuestDisk,
    GuestProof,
    GuestReport,
)
from reconciler.core.guest_states import find_command
from reconciler.core.names import HELPER_CARD, BusChangeMark, MovedDevice
from reconciler.core.virtio_win import NETWORK_DRIVER
from reconciler.core.world import DomainView, Reading
from reconciler.core.xmltree import Element, parse, parse_number
from reconciler.kinds.machine.domain.bus_change import find_moved, find_own, read_mac
from reconciler.kinds.machine.domain.buses import bus_of, iter_disks, place_of
from reconciler.kinds.machine.domain.read import read_pci
from reconciler.kinds.machine.planning.states import say_state


class Phase(Enum):
    """What is to be done next. The numbers are those of the five steps that people read."""

    PREPARE = "1: the helper disk is made and plugged in"
    AWAIT_PLUG = "1: the guest gets the helper disk at its next start"
    AWAIT_DRIVER = "2: the guest is to show the helper disk"
    PROVED = "2: the guest shows it"
    SWITCH = "3: the disks are moved while the guest is off"
    AWAIT_GUEST = "the guest is to run on, or to be off"
    AWAIT_START = "4: the guest is off, on its new bus"
    BEGIN_CHECK = "4: the guest is seen running on its new bus"
    AWAIT_SHOWN = "4: the guest is to show what was moved"
    FINISH = "5: the helper disk goes"
    GO_BACK = "the former bus comes back"
    GIVE_UP = "the helper disk goes, and the disks stay where they are"
    RESUME = "the guest that was shut down for it is started"
    FAILED = "it ended before its end"
    FORGET = "it ended, and the manifest does not ask for it any more"


@frozen
class Walk:
    """What the phase depends on.

    `is_wanted` says that the manifest still asks for this change, `is_moved` that the definition
    has the disks on the new bus. `retries` asks for another try after a failure, `aborts` for the
    end. `is_between` says that the guest is neither off nor running, `is_crashed` that it is so
    because it crashed, `is_ending` that it is shutting down. `has_helper` is of the definition,
    `has_plug` of the running guest. `was_asked` says that it is known what this run of the guest
    shows, as far as its agent answers: a daemon begins without that. `now` is when this was
    planned, in seconds since the epoch; never 0 where it is noted, because 0 is "not yet".
    """

    mark: Optional[BusChangeMark]
    is_running: bool = False
    is_off: bool = False
    is_between: bool = False
    is_crashed: bool = False
    is_ending: bool = False
    is_wanted: bool = True
    is_moved: bool = False
    has_helper: bool = False
    has_plug: bool = False
    can_plug: bool = True
    retries: bool = False
    aborts: bool = False
    is_proved: bool = False
    shows_moved: bool = False
    was_asked: bool = True
    now: int = 0
    limit: int = 0


def find_phase(walk: Walk) -> Optional[Phase]:
    """Return what is to be done next; None if there is nothing."""
    mark = walk.mark
    if mark is None:
        return _begin(walk) if walk.is_wanted and not walk.aborts else None
    if mark.is_over:
        return _find_end(walk, mark)
    if mark.switched:
        return _find_after_switch(walk, mark)
    if walk.aborts or mark.failed or not walk.is_wanted:
        return Phase.GIVE_UP
    return _find_before_switch(walk, mark)


def _begin(walk: Walk) -> Phase:
    return Phase.AWAIT_GUEST if walk.is_between else Phase.PREPARE


def _find_end(walk: Walk, mark: BusChangeMark) -> Phase:
    if mark.resumes:
        return Phase.RESUME
    if not walk.is_wanted:
        return Phase.FORGET
    return _begin(walk) if walk.retries and not walk.aborts else Phase.FAILED


def _find_before_switch(walk: Walk, mark: BusChangeMark) -> Phase:
    if walk.is_between:
        return Phase.AWAIT_GUEST
    if walk.is_moved:
        return Phase.FINISH  # somebody else has moved them
    if not walk.has_helper:
        return Phase.PREPARE
    return Phase.SWITCH if mark.proved else _find_before_proof(walk)


def _find_before_proof(walk: Walk) -> Phase:
    if not walk.is_running:
        return Phase.AWAIT_PLUG
    if not walk.has_plug:
        return Phase.PREPARE if walk.can_plug else Phase.AWAIT_PLUG
    return Phase.PROVED if walk.is_proved else Phase.AWAIT_DRIVER


def _find_after_switch(walk: Walk, mark: BusChangeMark) -> Phase:
    is_late = bool(mark.overdue) and not walk.shows_moved
    if walk.aborts or mark.failed or not walk.is_wanted or is_late:
        return Phase.GO_BACK
    if walk.is_off:
        return Phase.AWAIT_START
    if walk.is_between and not walk.is_crashed:
        return Phase.AWAIT_GUEST  # what does not run cannot show anything
    return Phase.FINISH if walk.shows_moved else _find_in_time(walk, mark)


def _find_in_time(walk: Walk, mark: BusChangeMark) -> Phase:
    if not mark.started:
        return Phase.BEGIN_CHECK
    is_late = walk.now >= mark.started + walk.limit and walk.was_asked
    return Phase.GO_BACK if is_late else Phase.AWAIT_SHOWN


@frozen
class Evidence:
    """What a guest has shown: the helper disk at `pci`, by `driver`; else `lack` says why not.

    `card_driver` is that of the helper card. `remark` is what could not be seen of it.
    """

    lack: str = ""
    pci: str = ""
    driver: str = ""
    card_driver: str = ""
    remark: str = ""

    @property
    def drivers(self) -> str:
        """The drivers that the guest has named."""
        return ", ".join(filter(None, (self.driver, self.card_driver)))


_AGENTS: Mapping[AgentState, str] = {
    AgentState.OFF: "the guest does not run",
    AgentState.NONE: "its guest agent was not asked yet, or the domain has no channel for it "
    "(guestAgent: true)",
    AgentState.DISCONNECTED: "its guest agent is not connected",
    AgentState.SILENT: "its guest agent does not answer",
    AgentState.BUSY: "its guest agent is used by another program",
}
# The devices of these drivers, transitional and modern (virtio 1.1, 5.2 and 5.6).
_DEVICES: Mapping[str, Tuple[str, str]] = {
    "virtio": ("1af4:1001", "1af4:1042"),
    "scsi": ("1af4:1004", "1af4:1048"),
}
_CARDS = ("1af4:1000", "1af4:1041")


def find_evidence(mark: BusChangeMark, reading: Reading, proof: GuestProof) -> Evidence:
    """Return whether the guest has the drivers of the new bus and the new model.

    A card is an interface in the guest only where a driver has bound it; its MAC is no other's.
    """
    report, live = proof.report, reading.view.live_xml
    lack = _find_unplugged(mark, live) or find_lack(mark, report, live)
    if lack:
        return Evidence(lack)
    evidence = _find_disk_evidence(mark, live, report) if mark.serial else Evidence()
    if not mark.mac or evidence.lack:
        return evidence
    if not has_card(report, mark.mac):
        return Evidence(f"the guest shows no network interface with the MAC {mark.mac}")
    return replace(evidence, card_driver=_name_driver(report, _CARDS, NETWORK_DRIVER))


def _find_unplugged(mark: BusChangeMark, live_xml: Optional[str]) -> str:
    """Say which helper the running guest does not have; empty if it has all."""
    if mark.serial and find_own(live_xml) is None:
        return "the guest does not have the helper disk yet"
    if mark.mac and find_own(live_xml, HELPER_CARD) is None:
        return "the guest does not have the helper card yet"
    return ""


def has_card(report: GuestReport, mac: str) -> bool:
    """Whether the guest itself has named an interface with that MAC."""
    return any(card.mac == mac and card.name for card in report.interfaces)


def _find_disk_evidence(mark: BusChangeMark, live: Optional[str], report: GuestReport) -> Evidence:
    """Return whether the guest has the driver of the new bus, and starts it at boot.

    The helper disk is known by its serial, which no other disk has. Its PCI address must not say
    otherwise: on a Windows the agent names the slot as people count it, so the bus alone is
    compared there.
    """
    helper = find_own(live)
    pci = "" if helper is None else find_pci(helper)
    shown = [disk for disk in report.disks if _is_helper(disk, mark, pci, report)]
    if not shown:
        return Evidence(f"the guest shows no disk with the serial {mark.serial}")
    driver = report.driver
    if driver is not None and driver.is_started is False:
        return Evidence(driver.about)
    remark = ""
    if driver is None or driver.is_started is None:
        why = f" ({driver.about})" if driver is not None and driver.about else ""
        remark = f"whether its system starts the driver at boot was not seen{why}"
    name = _name_driver(report, _DEVICES.get(mark.bus, ()), STORAGE_DRIVERS.get(mark.bus, "?"))
    return Evidence("", shown[0].pci or pci, name, remark=remark)


def was_asked(report: GuestReport, live_xml: Optional[str]) -> bool:
    """Whether the agent was asked in this run of the guest, or there is none to ask."""
    if live_xml is None or report.agent is AgentState.OFF:
        return False
    if report.agent is AgentState.NONE:
        return GUEST_AGENT_CHANNEL not in live_xml
    return not report.answers or _is_of_run(report, live_xml)


def _is_of_run(report: GuestReport, live_xml: Optional[str]) -> bool:
    run = "" if live_xml is None else parse(live_xml).get("id", "")
    return report.driver is not None and report.driver.run == run


def find_lack(mark: BusChangeMark, report: GuestReport, live_xml: Optional[str]) -> str:
    """Say why a report shows nothing of the guest as it runs now; empty if it does."""
    if report.agent is not AgentState.ANSWERS:
        return _AGENTS[report.agent]
    if not _is_of_run(report, live_xml):
        return "its guest agent was not asked since its start"
    for what in filter(None, (mark.bus and DISKS, mark.model and INTERFACES)):
        unseen = report.find_unseen(what)
        if unseen:
            return f"its {what} are not seen: {unseen}"
    return ""


def _is_helper(disk: GuestDisk, mark: BusChangeMark, pci: str, report: GuestReport) -> bool:
    if not disk.serial:  # without udev a Linux tells none; on virtio the address is its own
        return mark.bus == "virtio" and bool(pci) and disk.pci == pci
    is_it = disk.serial == mark.serial or disk.serial.endswith(f"_{mark.serial}")
    return is_it and (not disk.pci or not pci or _is_at(disk.pci, pci, report))


def _is_at(shown: str, pci: str, report: GuestReport) -> bool:
    if report.is_windows:
        return shown.split(":")[:2] == pci.split(":")[:2]
    return shown == pci


def find_pci(disk: Element) -> str:
    """Return the PCI address by which a guest knows a disk: its own, or its controller's."""
    if bus_of(disk) == "virtio":
        return read_pci(disk)
    kind, index = place_of(disk)
    controllers = disk.getroottree().iterfind(f"devices/controller[@type='{kind}']")
    found = (each for each in controllers if parse_number(each.get("index", "0")) == index)
    return next(map(read_pci, found), "")


def _name_driver(report: GuestReport, devices: Tuple[str, ...], name: str) -> str:
    """Return the driver with its version, as a Windows names it."""
    for driver in report.driver.drivers if report.driver is not None else ():
        if driver.device in devices or driver.name.lower().startswith(name):
            return f"{driver.name} {driver.version}".strip()
    return ""


def describe_hold(view: DomainView) -> str:
    """Say why a guest is neither off nor running, and what ends that."""
    if view.saved and not view.is_active:
        name = shlex.quote(view.name)
        return (
            f"the guest has a saved state: resume it (virsh start {name}), or discard it and what "
            f"was in the guest's memory (virsh managedsave-remove {name})"
        )
    return f"the guest {say_state(view)}: {find_command(view)}"


def find_missing(mark: BusChangeMark, reading: Reading, proof: GuestProof) -> str:
    """Say what the guest does not show of what was moved; empty if it shows all.

    What is not in the definition any more is removed, and not waited for.
    """
    if not reading.is_running:
        return describe_hold(reading.view)
    report, live = proof.report, reading.view.live_xml
    lack = find_lack(mark, report, live)
    if lack or live is None:
        return lack
    root, stored = parse(live), parse(reading.view.persistent_xml)
    left = [moved for moved in mark.moved if find_moved(stored, moved) is not None]
    disks = [moved for moved in left if not moved.is_card]
    cards = [moved for moved in left if moved.is_card]
    names = ", ".join(_list_missing(disks, root, report))
    missing = [f"the guest does not show {names} on {mark.bus}"] if names else []
    return "; ".join((*missing, *_list_missing_cards(cards, root, report)))


def _list_missing_cards(
    cards: Sequence[MovedDevice], root: Element, report: GuestReport
) -> Iterator[str]:
    for moved in cards:
        card = find_moved(root, moved)
        mac = moved.target if card is None else read_mac(card)
        if not has_card(report, mac):
            yield f"the guest shows no network interface with the MAC {mac} ({moved.name})"


def _list_missing(
    disks: Sequence[MovedDevice], root: Element, report: GuestReport
) -> Iterator[str]:
    """Yield the disks that are not there; where nothing tells them apart, disks are counted.

    A Windows whose agent answers has started from its system disk.
    """
    hard = [disk for disk in iter_disks(root) if disk.get("device", "disk") in ("disk", "lun")]
    for moved in disks:
        disk = find_moved(root, moved)
        if disk is None:
            yield f"{moved.name} (the running guest has no disk {moved.target})"
            continue
        pci, serial = find_pci(disk), (disk.findtext("serial") or "").strip()
        alike = [each for each in hard if find_pci(each) == pci]
        if report.is_windows:
            is_shown = len(report.disks) >= len(hard)
        else:
            is_shown = len([each for each in report.disks if each.pci == pci]) >= len(alike)
        named = [each for each in report.disks if serial and each.serial.endswith(serial)]
        if not (named or is_shown):
            yield moved.name
