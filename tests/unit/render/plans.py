"""Plans that the golden files show; each is one situation a reader meets."""

from __future__ import annotations

from typing import Mapping

from reconciler.core.plan import (
    Action,
    ActionKind,
    Change,
    DeleteVolume,
    Effect,
    Plan,
    SetMetadata,
    Shutdown,
    Start,
    Undefine,
)

GIB = 1024**3
KIND = "VirtualMachine"
NOT_OURS = "not managed yet: adopt it with `adopt` or `apply --adopt`"
COLD = "QEMU cannot change this while the guest runs"

CREATE = Action(
    KIND,
    "vm006-win2016",
    ActionKind.CREATE,
    changes=(
        Change("power", None, "running", Effect.OFFLINE),
        Change("autostart", None, True, Effect.OFFLINE),
        Change("cpus.count", None, 4, Effect.OFFLINE),
        Change("memory.size", None, 4 * GIB, Effect.OFFLINE),
        Change(
            "disks[root]",
            None,
            "virtio 60GiB, linked clone of template win2016 as default/vm006-win2016-root.qcow2",
            Effect.OFFLINE,
        ),
        Change("interfaces[lan]", None, "network default virtio", Effect.OFFLINE),
        Change("guest_agent", None, True, Effect.OFFLINE),
    ),
    steps=(Start(),),
    notes=("required daemons, not checked yet: virtqemud, virtnetworkd, virtstoraged",),
)

UPDATE = Action(
    KIND,
    "web01",
    ActionKind.UPDATE,
    changes=(
        Change("memory.size", 2 * GIB, 4 * GIB, Effect.LIVE),
        Change("disks[root].bus", "sata", "virtio", Effect.NEXT_BOOT, COLD),
        Change("disks[data].size", 100 * GIB, 50 * GIB, Effect.WITHHELD, "a disk is never shrunk"),
        Change("disks[scratch]", None, "virtio 10GiB, blank volume default/web01", Effect.LIVE),
        Change("cdroms[cd].media", "/iso/rocky.iso", "", Effect.LIVE),
        Change("cdroms[cd]", "sata /iso/rocky.iso", None, Effect.NEXT_BOOT, "not while running"),
    ),
    steps=(SetMetadata("<m/>", live=True),),
    pending=("cpus.maximum",),
)

RESTART = Action(
    KIND,
    "build",
    ActionKind.UPDATE,
    changes=(
        Change(
            "cpus.count", 2, 4, Effect.RESTART, f"{COLD}; lifecycle.disruption allows the restart"
        ),
    ),
    steps=(Shutdown(120, force=False), Start()),
)

STOP = Action(
    KIND,
    "old",
    ActionKind.UPDATE,
    changes=(Change("power", "running", "stopped", Effect.LIVE),),
    steps=(Shutdown(120, force=False),),
)

FOREIGN = Action(
    KIND,
    "legacy",
    ActionKind.ADOPT,
    changes=(Change("cpus.count", 1, 2, Effect.WITHHELD, NOT_OURS),),
    reason=NOT_OURS,
)

ADOPT = Action(
    KIND,
    "taken",
    ActionKind.ADOPT,
    changes=(
        Change("cpus.count", 1, 2, Effect.NEXT_BOOT, "above the running guest's maximum"),
        Change("metadata.owner", None, "taken", Effect.LIVE),
    ),
    steps=(SetMetadata("<m/>", live=True),),
)

WITHHELD = Action(
    KIND,
    "db",
    ActionKind.WITHHELD,
    changes=(
        Change("disks[root].size", 60 * GIB, 40 * GIB, Effect.WITHHELD, "a disk is never shrunk"),
    ),
)

FAILED = Action(
    KIND,
    "broken",
    ActionKind.FAILED,
    reason="disks[root].source.template: no Template 'rocky10' among the manifests",
)

WAITING = Action(KIND, "patient", ActionKind.NONE, pending=("disks[root].bus", "guest_agent"))

DELETE = Action(
    KIND,
    "retired",
    ActionKind.DELETE,
    changes=(
        Change(
            "power",
            "running",
            "stopped",
            Effect.DESTRUCTIVE,
            "the guest is asked, and has 120 s; else nothing is deleted",
        ),
        Change("definition", "UUID 6b1b", None, Effect.DESTRUCTIVE, "deletion is deleteDisks"),
        Change("disks[root]", "default/retired-root.qcow2, 60GiB", None, Effect.DESTRUCTIVE),
        Change("disks[data]", "/srv/data.raw", None, Effect.WITHHELD, "its image stays"),
    ),
    steps=(
        Shutdown(120, force=False),
        DeleteVolume("root", "default", "retired-root.qcow2", "/images/retired-root.qcow2"),
        Undefine(),
    ),
)

UNDEFINE = Action(
    KIND,
    "plain",
    ActionKind.DELETE,
    changes=(Change("definition", "UUID 7c2c", None, Effect.DESTRUCTIVE),),
    steps=(Undefine(),),
    notes=("disks[root]: /images/plain-root.qcow2 stays",),
)

SAME = Action(KIND, "steady", ActionKind.NONE)

HOSTILE = Action(
    KIND,
    "evil\x1b[2J\u202ename",
    ActionKind.UPDATE,
    changes=(
        Change(
            "xml[/domain/devices/graphics]", None, "<graphics\n  passwd='hunter2'/>", Effect.LIVE
        ),
        Change("disks[a\nb].serial", "x\x00", "\x9b31m", Effect.NEXT_BOOT),
    ),
    steps=(SetMetadata("<m/>", live=True),),
)

# Whatever a format gives a meaning to, in every place where text of others comes in.
BREAKING = "``` </details></code></pre> `` ` @octocat #1 <!-- --> | **x** [a](http://x) &lt;"
BREAKING_LINES = (
    f"a\n```\n~~~\n{BREAKING}\n</details>\n\n# head\n@all\n/close\n\u202ex\x1b[2J\r\u2028."
)

MARKUP = Action(
    KIND,
    f"x{BREAKING}",
    ActionKind.UPDATE,
    changes=(
        Change(f"disks[{BREAKING}].serial", BREAKING, "b", Effect.RESTART, BREAKING),
        Change(
            "xml[/domain/x/text()]", BREAKING_LINES, f"{BREAKING_LINES}\nb", Effect.LIVE, "@all"
        ),
        Change("xml[/domain/y]", None, BREAKING_LINES, Effect.WITHHELD, "/close"),
    ),
    steps=(Shutdown(1, force=True), Start()),
    pending=(f"disks[{BREAKING}].bus",),
    notes=(BREAKING, "/close\n@all"),
)

MARKUP_FAILED = Action(KIND, f"y{BREAKING}", ActionKind.FAILED, reason=f"{BREAKING}\n@all")

HOSTDEV = (
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
    "<address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/></source></hostdev>"
)
USER_DATA = """\
#cloud-config
hostname: web02
users:
  - name: admin
    passwd: hunter2
    shell: /bin/bash
packages:
  - nginx
  - tmux
"""

FRAGMENTS = Action(
    KIND,
    "web02",
    ActionKind.UPDATE,
    changes=(
        Change("xml[/domain/devices/hostdev]", None, HOSTDEV, Effect.NEXT_BOOT, COLD),
        Change(
            "xml[/domain/devices/watchdog]",
            "<watchdog model='itco' action='reset'>\n      <alias name='w'/>\n    </watchdog>",
            None,
            Effect.NEXT_BOOT,
        ),
        Change("xml[/domain/devices/graphics/@passwd]", "hunter2", "hunter3", Effect.LIVE),
        Change(
            "user_data",
            USER_DATA,
            USER_DATA.replace("tmux", "zsh").replace("hunter2", "hunter3"),
            Effect.NEXT_BOOT,
        ),
        Change("xml[/domain/memballoon]", None, "<memballoon\n  model='virtio'/>", Effect.LIVE),
    ),
    steps=(SetMetadata("<m/>", live=True),),
)


def plan_of(*actions: Action) -> Plan:
    """Return a plan of these actions, in a plan's order."""
    ordered = sorted(actions, key=lambda action: (action.kind, action.name))
    return Plan("kvm01", "qemu:///system", tuple(ordered))


PLANS: Mapping[str, Plan] = {
    "everything": plan_of(
        CREATE, UPDATE, RESTART, STOP, FOREIGN, ADOPT, WITHHELD, FAILED, WAITING, SAME
    ),
    "create": plan_of(CREATE),
    "unchanged": plan_of(SAME),
    "waiting": plan_of(WAITING, SAME),
    "nothing-here": plan_of(),
    "hostile": plan_of(HOSTILE),
    "markup": plan_of(MARKUP, MARKUP_FAILED),
    "fragments": plan_of(FRAGMENTS),
    "delete": plan_of(DELETE, UNDEFINE, SAME),
}
