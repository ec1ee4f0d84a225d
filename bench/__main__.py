"""`python -m bench [GROUP...]`: measure, and print the tables of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Callable, Iterator, Mapping, Union

from bench import (
    base,
    booting,
    clones,
    fetching,
    machine,
    parallel,
    peers,
    plans,
    resync,
    service,
    snapshots,
    startup,
)
from bench.fleet import Fleet
from bench.table import render
from bench.timing import Race
from tests.lab import surroundings

# In this order: the peers use the machines that the plans have defined.
GROUPS: Mapping[str, Callable[[Fleet], Iterator[Union[Race, str]]]] = {
    "startup": lambda _fleet: startup.measure(),
    "clones": lambda fleet: clones.measure(fleet.folder / "clones"),
    "fetch": lambda fleet: fetching.measure(fleet.folder / "fetch"),
    "boot": lambda fleet: booting.measure(fleet.folder / "boot"),
    "plan": plans.measure,
    "parallel": parallel.measure,
    "peers": peers.measure,
    "snapshot": snapshots.measure,
    "base": base.measure,
    "daemon": service.measure,
    "resync": resync.measure,
    "growth": plans.measure_growth,  # the last: the host has more machines afterwards
}


def main() -> None:
    """Measure the groups asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    chosen = parser.parse_args().groups or list(GROUPS)
    for one in chosen:
        if one not in GROUPS:
            parser.error(f"there is no group {one!r}; there are {', '.join(GROUPS)}")
    if os.geteuid() != 0 and chosen != ["startup"]:
        sys.exit("the private libvirt host needs root; only `startup` goes without")
    surroundings.begin()  # and what the commands remember goes with its home
    try:
        print(f"{machine.describe()}\n", flush=True)
        with Fleet() as fleet:
            for group in (one for one in GROUPS if one in chosen):
                for race in GROUPS[group](fleet):
                    print(race if isinstance(race, str) else render(race), flush=True)
        print(f"Load at the end: {os.getloadavg()[0]:.1f}")
    finally:
        surroundings.end()


if __name__ == "__main__":
    main()
