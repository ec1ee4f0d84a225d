"""`console`, `ssh`, `apply --wait`: get at a running guest, or wait until that is possible."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import Dict, FrozenSet, Iterator, List, Mapping, Sequence

from reconciler.cli.console import Console, Exit
from reconciler.cli.names import list_names
from reconciler.cli.plans import Prepared
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.control.ports import Clock, Domains, Host
from reconciler.core.access import (
    ConsoleFiles,
    describe_busy_console,
    describe_closed_console,
    find_address,
    find_first_user,
    find_remote_host,
    require_console,
    write_ssh,
)
from reconciler.core.guest import GuestView
from reconciler.core.machine import Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.render.words import escape
from reconciler.core.units import parse_duration, show_span
from reconciler.core.xmltree import parse
from reconciler.errors import BusyError, NotFoundError, ReconcilerError, UsageError
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.guest import look_inside

OFF_LIMIT, OFF_POLL = 2.0, 0.1  # seconds
WAIT_POLL = 1.0
SSH = "dnf install openssh-clients, apt install openssh-client"

# What ends a program that has a terminal; each must find it restored.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def open_console(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Connect the terminal with the guest's serial console."""
    if not console.answers.isatty():
        raise UsageError("console needs a terminal, and standard input is not one")
    domains = services.connect(uri_of(options, services, console)).domains
    view = domains.read_domain(options.name)
    note = require_console(view)
    if note:
        console.note(note)
    console.line(f"Console of {escape(view.name)}. Ctrl-] ends it.")
    try:
        with raw_terminal() as files:
            is_closed = services.connect_console(domains.uri, view.name, files, force=options.force)
    except BusyError as error:
        raise BusyError(describe_busy_console(view.name)) from error
    console.line()
    if is_closed:
        console.note(_find_reason(domains, view.name, services.clock))
    return Exit.DONE


def _find_reason(domains: Domains, name: str, clock: Clock) -> str:
    """Say why a console was closed; libvirt closes it before it says that the guest is off."""
    deadline = clock.now() + OFF_LIMIT
    while True:
        try:
            view = domains.read_domain(name)
        except NotFoundError:
            return f"{name} is off"
        if view.live_xml is None or clock.now() > deadline:
            return describe_closed_console(view)
        clock.sleep(OFF_POLL)


def open_ssh(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Become ssh to the address that the guest's agent, or a lease, names."""
    host = services.connect(uri_of(options, services, console))
    view = host.domains.read_domain(options.name)
    address = find_address(view, host.guests.read(view.name))
    owner = read_owner(parse(view.persistent_xml))
    user = options.user or (find_first_user(owner.spec) if owner else "")
    remote = find_remote_host(host.domains.uri)
    jump = "" if options.direct or remote is None else remote.jump
    if remote is not None and not jump and not options.direct:
        console.note(
            f"{address} is the address that {remote.name} knows; if it cannot be reached from "
            f"here: virt-reconciler ssh {shlex.quote(view.name)} -- -J {remote.name}"
        )
    words = write_ssh(view.name, address, user, jump, options.arguments)
    return services.become(words, SSH)


class GuestWait:
    """Waits for guests, and shows for which it still waits, and why."""

    def __init__(self, host: Host, console: Console, clock: Clock) -> None:
        """Begin to count the time."""
        self._host, self._console, self._clock = host, console, clock
        self._since = clock.now()
        self._reasons: Dict[str, str] = {}
        self._failed: Dict[str, str] = {}

    def wait(self, machines: Sequence[MachineManifest], limit: float) -> Mapping[str, str]:
        """Return why guests are not ready after `limit` seconds; nothing if all are.

        A guest that cannot become ready in this boot is not waited for any longer.
        """
        left = list(machines)
        while left:
            left = [machine for machine in left if not self._is_over(machine)]
            if not left or self.passed > limit:
                break
            self._show(left)
            self._clock.sleep(WAIT_POLL)
        self._clear()
        late = {machine.name: self._reasons[machine.name] for machine in left}
        return {**self._failed, **late}

    @property
    def passed(self) -> float:
        """The seconds since it began."""
        return self._clock.now() - self._since

    def _is_over(self, machine: MachineManifest) -> bool:
        try:
            view = look_inside(self._host, machine)
        except ReconcilerError as error:
            view = GuestView(ready=False, reasons=(str(error),))
        name = escape(machine.name)
        if view.ready:
            self._clear()
            self._console.line(f"{name}: guest ready after {show_span(self.passed)}")
            return True
        reason = escape(view.reason or "nothing is known of the guest")
        if view.is_final:
            self._failed[machine.name] = reason
            return True
        if self._reasons.get(machine.name) != reason and not self._console.can_rewrite:
            self._console.line(f"{name}: waits for its guest: {reason}")
        self._reasons[machine.name] = reason
        return False

    def _show(self, left: Sequence[MachineManifest]) -> None:
        if not self._console.can_rewrite:
            return
        names = list_names([machine.name for machine in left])
        text = f"waiting for {names} since {show_span(self.passed)}: {self._reasons[left[0].name]}"
        self._console.write(f"\r\x1b[K{text[: max(self._console.width() - 1, 1)]}")

    def _clear(self) -> None:
        if self._console.can_rewrite:
            self._console.write("\r\x1b[K")


def wait_for_guests(
    time: str, prepared: Prepared, done: FrozenSet[str], console: Console, clock: Clock
) -> int:
    """Wait for the guests of the machines in `done`; return how many are not ready by then."""
    chosen = [machine for machine in prepared.desired.machines if machine.name in done]
    running = [machine for machine in chosen if machine.machine.power is Power.RUNNING]
    asked = [machine for machine in running if machine.machine.guest_agent]
    for machine in running:
        if machine not in asked:
            console.note(
                f"{machine.name} is not waited for: its manifest has no `guestAgent: true`, "
                "without which nothing is known of its guest"
            )
    wait = GuestWait(prepared.host, console, clock)
    try:
        late = wait.wait(asked, parse_duration(time))
    except KeyboardInterrupt:
        console.line()
        console.note("not waited any longer; what was applied stays")
        raise
    for name, reason in late.items():
        console.error(f"{name}: its guest is not ready after {show_span(wait.passed)}: {reason}")
    return len(late)


@contextmanager
def raw_terminal() -> Iterator[ConsoleFiles]:
    """Have every key passed on as it is; the terminal is restored whatever happens.

    A signal that would end this process can be read from `stop`, and ends it afterwards.
    """
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    came: List[signal.Signals] = []
    stop, wake = os.pipe()
    os.set_blocking(wake, False)
    former = {
        number: signal.signal(number, lambda got, _: came.append(signal.Signals(got)))
        for number in ENDING
    }
    signal.set_wakeup_fd(wake)
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield ConsoleFiles(keyboard, screen, stop)
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(-1)
        for ending, handle in former.items():
            signal.signal(ending, handle)
        os.close(stop)
        os.close(wake)
        for number in came[:1]:
            signal.raise_signal(number)
