"""What a plan does about daemons: for a `Host`, and for the machines that need them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import List, Tuple, Union, cast

import pytest

from reconciler.control.ports import Host
from reconciler.core.libvirt_daemons import BY_NAME, DaemonsView, Mode, SocketAnswer, Unit, Verb
from reconciler.core.manifest import Desired
from reconciler.core.plan import Action, ActionKind, ChangeUnits, Effect, Outcome, PlanOptions
from reconciler.core.planner import make_plan
from reconciler.core.render.json import render_json
from reconciler.core.render.text import Style, render_text
from reconciler.core.world import Unknown, World
from reconciler.errors import TerminalError
from reconciler.kinds.host.planning import plan_host
from tests.execution import execute_action
from tests.unit.daemons.views import IDLE, LISTENING, host, machine, modular, monolithic
from tests.unit.fake_clock import FakeClock

STOPPED = Unit("loaded", "inactive", "enabled")


def world(seen: Union[DaemonsView, Unknown]) -> World:
    """Return a host with these daemons and nothing else."""
    return World("kvm01", "qemu:///system", daemons=seen)


def lines(action: Action) -> List[Tuple[str, str]]:
    """Return path and effect of each change."""
    return [(change.path, change.effect.value) for change in action.changes]


def test_a_host_that_is_right_changes_in_nothing() -> None:
    action = plan_host(host(), world(modular()))
    assert (action.kind, action.action, action.changes) == ("Host", ActionKind.NONE, ())


def test_a_stopped_socket_is_started() -> None:
    action = plan_host(host(), world(modular(virtnetworkd_socket=STOPPED)))
    [change] = action.changes
    assert (change.path, change.effect) == ("daemons[virtnetworkd].socket", Effect.LIVE)
    assert (change.observed, change.desired) == ("enabled, stopped", "enabled, listening")
    assert action.steps == (ChangeUnits(Verb.START, ("virtnetworkd.socket",)),)


def test_where_it_is_only_checked_everything_is_withheld() -> None:
    seen = modular(virtnetworkd_socket=IDLE, libvirtd_socket=LISTENING)
    action = plan_host(host(ensure=False), world(seen))
    assert (action.action, action.steps) == (ActionKind.WITHHELD, ())
    assert {effect for _, effect in lines(action)} == {"withheld"}
    assert "action: check" in action.changes[0].reason


def test_what_is_forbidden_is_stopped_and_masked_before_anything_is_started() -> None:
    seen = modular(libvirtd_socket=LISTENING, libvirtd_service=LISTENING, virtqemud_socket=IDLE)
    action = plan_host(host(), world(seen))
    verbs = [step.verb.value for step in action.steps if isinstance(step, ChangeUnits)]
    assert verbs == ["stop", "disable", "mask", "enable", "start"]
    off = ("libvirtd.socket", "libvirtd.service")
    assert action.steps[0] == ChangeUnits(Verb.STOP, off)


@pytest.mark.parametrize(
    ("guests", "words"),
    [
        pytest.param(("a", "b"), "never while guests run (a, b)", id="guests"),
        pytest.param(None, "cannot see whether guests run", id="not to be seen"),
    ],
)
def test_nothing_is_stopped_while_guests_run(guests: object, words: str) -> None:
    seen = replace(modular(libvirtd_socket=LISTENING), guests=guests)  # type: ignore[arg-type]
    action = plan_host(host(), world(seen))
    assert (action.action, action.steps) == (ActionKind.WITHHELD, ())
    assert all(words in change.reason for change in action.changes)


def test_what_is_not_forbidden_is_never_stopped() -> None:
    action = plan_host(host(forbidden=()), world(modular(libvirtd_socket=LISTENING)))
    assert lines(action) == [("daemons[libvirtd].socket", "withheld")]
    assert action.steps == ()


@pytest.mark.parametrize(
    ("fields", "guests", "words"),
    [
        pytest.param({"forbidden": ()}, (), "which is not `forbidden`", id="not forbidden"),
        pytest.param({}, ("a",), "never while guests run (a)", id="with guests"),
    ],
)
def test_nothing_is_started_that_would_stop_libvirtd(
    fields: dict[str, object], guests: Tuple[str, ...], words: str
) -> None:
    """The services of the two modes have Conflicts= with each other."""
    seen = modular(virtqemud_socket=IDLE, libvirtd_service=LISTENING)
    action = plan_host(host(**fields), world(replace(seen, guests=guests)))
    [start] = [change for change in action.changes if change.path == "daemons[virtqemud].socket"]
    assert (start.effect, words in start.reason) == (Effect.WITHHELD, True)
    assert action.steps == ()


def test_a_daemon_of_both_modes_is_started_beside_libvirtd() -> None:
    wanted = host(required=("virtlogd",), forbidden=())
    action = plan_host(wanted, world(modular(virtlogd_socket=IDLE, libvirtd_service=LISTENING)))
    assert ("daemons[virtlogd].socket", "live") in lines(action)


def test_what_the_manifest_does_not_name_is_left_alone() -> None:
    failed = Unit("loaded", "failed", "enabled", "exit-code")
    action = plan_host(host(), world(modular(virtlockd_socket=failed)))
    assert action.action is ActionKind.NONE


def test_a_monolithic_host_wants_libvirtd() -> None:
    wanted = host(mode=Mode.MONOLITHIC, required=("libvirtd",), forbidden=())
    assert plan_host(wanted, world(monolithic())).action is ActionKind.NONE
    stopped = monolithic(libvirtd_socket=IDLE, libvirtd_service=IDLE)
    assert ("daemons[libvirtd].socket", "live") in lines(plan_host(wanted, world(stopped)))


def test_where_daemons_cannot_be_seen_nothing_is_done_and_it_is_said() -> None:
    action = plan_host(host(), world(Unknown("it is another host")))
    assert (action.action, action.steps) == (ActionKind.WITHHELD, ())
    assert "it is another host" in action.reason


def test_a_machine_without_its_daemon_is_withheld_and_not_failed() -> None:
    desired = Desired.of(machine("vm", ["virtqemud", "virtnetworkd"]))
    plan = make_plan(desired, world(modular(virtnetworkd_socket=STOPPED)), PlanOptions())
    [action] = plan.actions
    assert (action.action, action.steps) == (ActionKind.WITHHELD, ())
    assert action.reason == (
        "required daemon: virtnetworkd.socket is stopped (systemctl start virtnetworkd.socket)"
    )
    text = render_text(plan, Style(colour=False, unicode=True))
    assert "! vm: withheld, required daemon: virtnetworkd.socket is stopped" in text
    assert text.splitlines()[-1].endswith("0 unchanged, 1 withheld.")
    assert '"failed": 0' in render_json(plan)


def test_hosts_are_planned_for_this_host_alone() -> None:
    there = host(name="other", selector=("kvm02",), required=("virtsecretd",))
    plan = make_plan(Desired.of(host(), there), world(modular()), PlanOptions())
    assert [(action.kind, action.name) for action in plan.actions] == [("Host", "kvm01")]


@dataclass
class FakeUnits:
    """A service manager that does what it is told, or not; `guests` appear once it was asked."""

    seen: DaemonsView
    works: bool = True
    guests: Tuple[str, ...] = ()
    told: List[Tuple[str, Tuple[str, ...]]] = field(default_factory=list)

    def observe(self) -> DaemonsView:
        return replace(self.seen, guests=self.guests)

    def ask(self, path: str) -> SocketAnswer:
        raise AssertionError(f"nobody may connect to {path}")

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        self.told.append((verb.value, units))
        if not self.works:
            raise TerminalError("systemctl: job failed")
        if verb is Verb.START:
            started = dict.fromkeys(units, LISTENING)
            paths = {socket.unit: socket.path for d in BY_NAME.values() for socket in d.sockets}
            new = frozenset(paths[unit] for unit in units if unit in paths)
            self.seen = replace(
                self.seen,
                units={**self.seen.units, **started},
                listening=self.seen.listening | new,
            )


class Silent:
    """Tells nobody."""

    def started(self, action: Action) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


def carry_out(units: FakeUnits, action: Action) -> Outcome:
    site = cast("Host", SimpleNamespace(units=units))
    return execute_action(site, Desired.of(host()), action, Silent(), FakeClock())


def test_a_plan_is_carried_out_and_read_back() -> None:
    units = FakeUnits(modular(virtnetworkd_socket=STOPPED))
    outcome = carry_out(units, plan_host(host(), world(units.seen)))
    assert (outcome.error, units.told) == (None, [("start", ("virtnetworkd.socket",))])


def test_a_unit_that_does_not_start_fails_the_action_with_systemds_words() -> None:
    units = FakeUnits(modular(virtnetworkd_socket=STOPPED), works=False)
    outcome = carry_out(units, plan_host(host(), world(units.seen)))
    assert outcome.error == "systemctl: job failed"


def test_a_unit_that_stays_as_it_was_fails_the_action() -> None:
    units = FakeUnits(modular(libvirtd_socket=LISTENING))
    outcome = carry_out(units, plan_host(host(), world(units.seen)))
    assert "not as planned: daemons[libvirtd].socket" in (outcome.error or "")


def test_a_guest_that_was_started_since_the_plan_keeps_libvirtd() -> None:
    units = FakeUnits(modular(libvirtd_socket=LISTENING))
    action = plan_host(host(), world(units.seen))
    units.guests = ("a",)
    assert "never while guests run (a)" in (carry_out(units, action).error or "")
    assert units.told == []
