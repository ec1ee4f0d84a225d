"""Domain XML, and nothing of libvirt: read a machine, edit one in place, create one. Pure."""

from __future__ import annotations

from reconciler.core.domain.build import place_devices
from reconciler.core.domain.controllers import needed_controllers
from reconciler.core.domain.create import create_domain, set_uuid, without_disks
from reconciler.core.domain.defaults import complete_machine
from reconciler.core.domain.edit import carry_image, edit_domain
from reconciler.core.domain.live import device_xml, live_device, plug
from reconciler.core.domain.offer import check_offer
from reconciler.core.domain.overlays import apply_overlays, compare_overlays, merge_overlays
from reconciler.core.domain.owner import owner_xml, read_owner, set_owner
from reconciler.core.domain.read import read_machine
from reconciler.core.domain.slots import find_cramped
from reconciler.core.domain.sound import refuse_doubles, refuse_empty_usb
from reconciler.core.xmltree import digest

__all__ = [
    "apply_overlays",
    "carry_image",
    "check_offer",
    "compare_overlays",
    "complete_machine",
    "create_domain",
    "device_xml",
    "digest",
    "edit_domain",
    "find_cramped",
    "live_device",
    "merge_overlays",
    "needed_controllers",
    "owner_xml",
    "place_devices",
    "plug",
    "read_machine",
    "read_owner",
    "refuse_doubles",
    "refuse_empty_usb",
    "set_owner",
    "set_uuid",
    "without_disks",
]
