"""A real host whose k-th writing call fails, or after which the process is as good as dead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

from reconciler.adapters.libvirt.host import NO_PREPARER, refuse_imports
from reconciler.control.ports import NoLocks, NoUnits
from reconciler.core.guest import NoGuests
from reconciler.core.secret_refs import NoSecrets
from reconciler.core.transfers import NoDownloads
from reconciler.errors import TerminalError


def is_read(name: str) -> bool:
    """Whether a call of that name changes nothing on the host."""
    return name in ("uri", "host") or name.startswith(("can_", "find_", "is_", "list_", "read_"))


class Killed(BaseException):
    """Stands for kill -9: nothing in the product catches it."""


@dataclass
class Fault:
    """Let `at` writing calls pass; then `act` before or after the next one, once."""

    at: int
    act: Callable[[], None]
    after: bool = False
    calls: int = 0

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make the call, or not."""
        self.calls += 1
        mine = self.calls == self.at + 1
        if mine and not self.after:
            self.act()
        result = call(*arguments)
        if mine and self.after:
            self.act()
        return result


class Faulty:
    """One driver of a host, with the fault in every writing call."""

    def __init__(self, driver: object, fault: Fault) -> None:
        """Stand before the driver."""
        self._driver, self._fault = driver, fault

    def __getattr__(self, name: str) -> Any:
        """Hand through; writing calls count."""
        found = getattr(self._driver, name)
        if is_read(name):
            return found
        return lambda *arguments, **more: self._fault.run(partial(found, **more), *arguments)


@dataclass(frozen=True)
class FaultyHost:
    """A host with the fault in all its drivers."""

    domains: Any
    storage: Any
    networks: Any
    locks: Any = NoLocks()  # noqa: RUF009 - it holds nothing
    units: Any = NoUnits()  # noqa: RUF009
    secrets: Any = NoSecrets("none")  # noqa: RUF009
    downloads: Any = NoDownloads()  # noqa: RUF009
    guests: Any = NoGuests()  # noqa: RUF009
    preparer: Any = NO_PREPARER
    importer: Any = refuse_imports()  # noqa: RUF009

    @classmethod
    def around(cls, host: Any, fault: Fault) -> FaultyHost:
        """Wrap a host."""
        drivers = (Faulty(host.domains, fault), Faulty(host.storage, fault), host.networks)
        return cls(*drivers, host.locks)


def fail() -> None:
    """Fail as libvirt would."""
    raise TerminalError("injected: no space left on device")


def kill() -> None:
    """Die as by kill -9."""
    raise Killed
