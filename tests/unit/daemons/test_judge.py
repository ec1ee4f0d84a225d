"""What is right and what is wrong with a host's daemons: cases as they are met."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Tuple

import pytest

from reconciler.core.daemon_faults import (
    Need,
    detect_mode,
    detect_needs,
    find_hindrance,
    find_needs,
)
from reconciler.core.libvirt_daemons import (
    BY_NAME,
    DAEMONS,
    DaemonsView,
    Mode,
    SocketAnswer,
    Unit,
    Verb,
)
from reconciler.core.manifest import Desired
from reconciler.core.render.text import Style
from reconciler.kinds.host.judgement import (
    DaemonHealth,
    find_askable,
    judge,
    judge_all,
    make_report,
    render_report,
)
from tests.unit.daemons.views import (
    IDLE,
    LISTENING,
    host,
    installed,
    machine,
    modular,
    monolithic,
    view,
)

Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"

RUNNING = Unit("loaded", "active", "disabled")
STOPPED = Unit("loaded", "inactive", "enabled")
DISABLED = Unit("loaded", "active", "disabled")
FAILED = Unit("loaded", "failed", "enabled", "exit-code")
MASKED = Unit("masked", "inactive", "masked")
ABSENT = Unit()
NETWORK = "/run/libvirt/virtnetworkd-sock"

RIGHT: Tuple[Tuple[str, DaemonsView], ...] = (
    ("idle behind its socket", modular()),
    ("running", modular(virtnetworkd_service=RUNNING)),
    (
        "started by its service",
        modular(virtnetworkd_socket=DISABLED, virtnetworkd_service=LISTENING),
    ),
    ("one side masked", modular(virtnetworkd_ro_socket=MASKED)),
    ("starting", modular(virtnetworkd_service=Unit("loaded", "activating", "disabled"))),
    (
        "old: no sockets, and the service listens by itself",
        replace(
            modular(
                virtnetworkd_socket=MASKED,
                virtnetworkd_ro_socket=MASKED,
                virtnetworkd_admin_socket=MASKED,
                virtnetworkd_service=LISTENING,
            ),
            listening=frozenset({NETWORK}),
        ),
    ),
)


@pytest.mark.parametrize("seen", [pytest.param(seen, id=name) for name, seen in RIGHT])
def test_a_daemon_that_clients_reach_is_right(seen: DaemonsView) -> None:
    daemon = BY_NAME["virtnetworkd"]
    assert judge(daemon, Need.REQUIRED, seen).verdict is DaemonHealth.RIGHT
    assert find_hindrance(daemon, seen) == ""


WRONG = (
    (
        "its socket stopped",
        modular(virtnetworkd_socket=STOPPED),
        "virtnetworkd.socket is stopped",
        (Verb.START,),
    ),
    (
        "its socket off",
        modular(virtnetworkd_socket=IDLE),
        "virtnetworkd.socket is stopped",
        (Verb.ENABLE, Verb.START),
    ),
    (
        "its socket failed",
        modular(virtnetworkd_socket=FAILED),
        "virtnetworkd.socket failed",
        (Verb.RESET, Verb.START),
    ),
    (
        "its service failed",
        modular(virtnetworkd_service=FAILED),
        "virtnetworkd.service failed (exit-code)",
        (Verb.RESET, Verb.START),
    ),
    (
        "its socket masked: a person's doing, and a person's to undo",
        modular(virtnetworkd_socket=MASKED),
        "virtnetworkd.socket was masked",
        (),
    ),
    (
        "its service masked",
        modular(virtnetworkd_service=MASKED),
        "virtnetworkd.service was masked, so its socket cannot start it",
        (),
    ),
    (
        "its socket stopped while it runs, which systemd would refuse to start",
        modular(virtnetworkd_socket=STOPPED, virtnetworkd_service=RUNNING),
        "virtnetworkd.socket is stopped while virtnetworkd.service runs, so systemd would not "
        "start it",
        (),
    ),
    (
        "nobody listening although the socket is active",
        replace(modular(), listening=frozenset({"/run/libvirt/virtnetworkd-sock-ro"})),
        f"no process listens at {NETWORK}, although virtnetworkd.socket is active",
        (),
    ),
    (
        "not installed",
        view(installed("libvirtd")),
        "virtnetworkd is not installed",
        (),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "reason", "fix"),
    [pytest.param(seen, reason, fix, id=name) for name, seen, reason, fix in WRONG],
)
def test_a_daemon_that_clients_do_not_reach_is_wrong(
    seen: DaemonsView, reason: str, fix: Tuple[Verb, ...]
) -> None:
    daemon = BY_NAME["virtnetworkd"]
    found = judge(daemon, Need.REQUIRED, seen)
    assert found.verdict is DaemonHealth.WRONG
    assert (found.faults[0].reason, found.faults[0].fix) == (reason, fix)
    assert find_hindrance(daemon, seen).startswith(f"{reason} (")


def test_what_a_restart_of_the_host_would_lose_is_wrong_but_hinders_nobody() -> None:
    seen = modular(virtnetworkd_socket=DISABLED)
    [fault] = judge(BY_NAME["virtnetworkd"], Need.REQUIRED, seen).faults
    assert (fault.fix, fault.hinders) == ((Verb.ENABLE,), False)
    assert find_hindrance(BY_NAME["virtnetworkd"], seen) == ""


def test_the_other_sockets_count_for_what_a_host_requires_and_for_nobody_else() -> None:
    seen = modular(virtnetworkd_ro_socket=STOPPED)
    daemon = BY_NAME["virtnetworkd"]
    assert [fault.unit for fault in judge(daemon, Need.REQUIRED, seen).faults] == [
        "virtnetworkd-ro.socket"
    ]
    assert judge(daemon, Need.EXPECTED, seen).verdict is DaemonHealth.RIGHT


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param({"libvirtd_service": STOPPED}, id="enabled"),
        pytest.param({"libvirtd_socket": LISTENING}, id="its socket"),
        pytest.param({"libvirtd_tcp_socket": LISTENING}, id="on the network"),
    ],
)
def test_libvirtd_beside_modular_daemons_is_wrong(unit: dict[str, Unit]) -> None:
    seen = modular(**unit)
    left_alone = judge(BY_NAME["libvirtd"], Need.OFF, seen)
    assert (left_alone.verdict, left_alone.faults[0].fix) == (DaemonHealth.WRONG, ())
    forbidden = judge(BY_NAME["libvirtd"], Need.FORBIDDEN, seen)
    assert {Verb.MASK} <= set(forbidden.faults[0].fix)
    assert "libvirtd.service" in [fault.unit for fault in forbidden.faults]


def test_modular_daemons_beside_libvirtd_are_wrong() -> None:
    both = view({**monolithic().units, **modular(libvirtd_service=LISTENING).units})
    found = judge_all(detect_needs(Mode.MONOLITHIC), both)
    wrong = {one.daemon.name for one in found if one.verdict is DaemonHealth.WRONG}
    assert {"virtqemud", "virtnetworkd", "virtstoraged"} <= wrong


def test_a_forbidden_daemon_that_is_off_is_as_it_should_be() -> None:
    assert judge(BY_NAME["libvirtd"], Need.FORBIDDEN, modular()).verdict is DaemonHealth.OFF


@pytest.mark.parametrize(
    ("seen", "mode"),
    [
        pytest.param(modular(), Mode.MODULAR, id="modular"),
        pytest.param(monolithic(), Mode.MONOLITHIC, id="monolithic"),
        pytest.param(
            modular(libvirtd_socket=LISTENING), Mode.MODULAR, id="both, where libvirtd is too much"
        ),
        pytest.param(view(installed("libvirtd", "virtqemud")), None, id="neither"),
    ],
)
def test_the_mode_is_what_is_switched_on(seen: DaemonsView, mode: Mode) -> None:
    assert detect_mode(seen) is mode


@pytest.mark.parametrize(("seen", "mode"), [(modular(), "modular"), (monolithic(), "monolithic")])
def test_a_healthy_host_is_right_without_any_manifest(seen: DaemonsView, mode: str) -> None:
    report = make_report(seen, Desired())
    assert (report.is_right, report.mode.value, report.manifest) == (True, mode, None)


def test_a_host_without_any_daemon_is_not_right() -> None:
    report = make_report(view({}), Desired())
    assert not report.is_right
    assert [row.judgement.daemon.name for row in report.rows] == ["virtqemud"]


def test_what_machines_require_is_expected_and_says_of_whom() -> None:
    wanted = Desired.of(machine("a", ["virtnodedevd"]), machine("b"))
    report = make_report(modular(), wanted)
    [row] = [one for one in report.rows if one.judgement.daemon.name == "virtnodedevd"]
    assert (row.judgement.verdict, row.users) == (DaemonHealth.WRONG, ("a",))


def test_nobody_connects_to_what_must_be_off() -> None:
    """Connecting starts the daemon: virtproxyd and libvirtd listen at the same path."""
    seen = modular(libvirtd_socket=LISTENING, virtproxyd_socket=LISTENING)
    asked = find_askable(judge_all(find_needs(host()), seen), seen)
    assert asked == (
        "/run/libvirt/virtqemud-sock",
        "/run/libvirt/virtnetworkd-sock",
        "/run/libvirt/virtstoraged-sock",
        "/run/libvirt/virtlogd-sock",
    )


def test_nobody_connects_where_nobody_listens() -> None:
    seen = modular(virtnetworkd_socket=STOPPED)
    assert NETWORK not in find_askable(judge_all(find_needs(host()), seen), seen)


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        pytest.param(
            SocketAnswer("virtnetworkd.service", "x", 7), DaemonHealth.RIGHT, "", id="itself"
        ),
        pytest.param(
            SocketAnswer("libvirtd.service", "libvirtd", 7),
            DaemonHealth.WRONG,
            f"libvirtd.service answers at {NETWORK}",
            id="another",
        ),
        pytest.param(
            SocketAnswer("", "socat", 7),
            DaemonHealth.WRONG,
            f"process 7 (socat), which belongs to no unit, answers at {NETWORK}",
            id="no unit at all",
        ),
        pytest.param(
            SocketAnswer(problem="no rights"), DaemonHealth.RIGHT, "", id="nobody can tell"
        ),
        pytest.param(
            SocketAnswer(problem="refused", refused=True),
            DaemonHealth.WRONG,
            "refused",
            id="nobody answers",
        ),
    ],
)
def test_who_answers_counts(answer: SocketAnswer, verdict: DaemonHealth, words: str) -> None:
    seen = replace(modular(), answers={NETWORK: answer})
    found = judge(BY_NAME["virtnetworkd"], Need.REQUIRED, seen)
    assert found.verdict is verdict
    assert [fault.reason for fault in found.faults] == ([words] if words else [])


def test_each_unit_and_path_of_the_table_is_of_one_daemon_but_for_the_legacy_sockets() -> None:
    units = [unit for daemon in DAEMONS for unit in daemon.units]
    assert len(units) == len(set(units))
    paths = [
        socket.path for each in DAEMONS if each.name != "virtproxyd" for socket in each.sockets
    ]
    assert len(paths) == len(set(paths))


def test_the_table_of_a_host_with_a_stopped_socket(golden: Golden) -> None:
    paths = {name: BY_NAME[name].socket.path for name in ("virtqemud", "virtnetworkd")}
    seen = replace(
        modular(virtqemud_service=RUNNING, virtstoraged_socket=STOPPED),
        answers={path: SocketAnswer(f"{name}.service") for name, path in paths.items()},
    )
    manifests = Desired.of(host(ensure=False))
    golden(GOLDEN / "host-check.txt", render_report(make_report(seen, manifests), Style()))
