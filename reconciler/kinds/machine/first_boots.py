"""Ask the agents of guests whether their first boots are over, all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Mapping

from reconciler.control.ports import Host
from reconciler.core.faults import isolate
from reconciler.core.guest import FirstBoot
from reconciler.core.manifest import Desired
from reconciler.core.world import Reading, World
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.planning.seed_contents import find_sign

MOST_AT_ONCE = 64


def find_first_boots(
    host: Host, desired: Desired, world: World, asked: Mapping[str, str]
) -> Mapping[str, FirstBoot]:
    """Return what is known of first boots, by the name of the guest.

    `asked` maps a guest to its sign. Every other guest whose seed waits for the end of its first
    boot is asked with them: one after the other, agents that do not answer would take seconds each.
    """
    signs: Dict[str, str] = dict(asked)
    for manifest in desired.machines:
        reading = world.domains.get(manifest.name)
        owner = reading.owner if isinstance(reading, Reading) else None
        seed = None if owner is None else owner.seed
        if seed is not None and seed.is_attached and seed.since:
            signs.setdefault(manifest.name, find_sign(manifest, seed))

    def find(name: str) -> FirstBoot:
        now, reading = host.locks.me.since, world.domains.get(name)
        if not isinstance(reading, Reading) or not reading.is_running:
            return FirstBoot(now)
        try:
            return FirstBoot(now, isolate(host.guests.is_boot_finished, name, signs[name]))
        except ReconcilerError as error:
            return FirstBoot(now, lack=str(error))

    names = sorted(signs.keys() - world.first_boots.keys())
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        return dict(zip(names, pool.map(find, names)))
