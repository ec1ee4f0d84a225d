"""What the loop is made of: every port in one value, put together by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from reconciler.control.ports import Clock, Host
from reconciler.control.ports.events import News
from reconciler.control.ports.service import History, HostSigns, Journal, Meter, Store


@dataclass(frozen=True)
class Parts:
    """The outside world as the loop sees it.

    `wall` is seconds since the epoch; `chance` gives numbers in [0, 1). `connect` reaches another
    host, None where nobody else is to be asked. `signs` shows what has come to this host where
    libvirt announces nothing; of another host there are none.
    """

    host: Host
    news: News
    store: Store
    journal: Journal
    meter: Meter
    clock: Clock
    wall: Callable[[], float]
    chance: Callable[[], float]
    history: History
    connect: Optional[Callable[[str], Host]] = None
    signs: Callable[[], HostSigns] = HostSigns
