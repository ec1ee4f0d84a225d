"""`run` and `config check`: the daemon and its configuration."""

from __future__ import annotations

import argparse
import gc
from typing import TYPE_CHECKING, Callable, Tuple

from reconciler.cli.arguments import CONFIG_FILE
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.cli.settings import settings_of
from reconciler.control.gauges import LoopGauges, Registry
from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.loop import Loop
from reconciler.control.manifest_follower import LookTimer, ManifestFollower, ManifestListener
from reconciler.core import events
from reconciler.core.events import Event
from reconciler.core.frozen import replace
from reconciler.core.render.words import escape
from reconciler.core.settings import Settings
from reconciler.daemon import Daemon

if TYPE_CHECKING:
    from reconciler.cli.daemon_services import DaemonServices


# Settings that a reload does not put in force.
AT_RESTART = ("connect", "state", "resync", "lanes", "prune", "metrics")


def run_daemon(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Keep the host as the manifests say; settings are read anew on SIGHUP."""

    def read() -> Settings:
        return settings_of(options, services, is_required=True)

    gc.enable()  # a command does without, but this goes on for months
    settings = read()
    daemon_services = services.serve(settings, console)
    with daemon_services.lock_memory():
        return _serve(settings, read, daemon_services)


def _serve(settings: Settings, reread: Callable[[], Settings], services: DaemonServices) -> int:
    """Put the daemon together and run it until it is told to stop; return its exit status."""
    meter = Registry()
    loop = Loop(services.attend(meter), settings)
    measuring = LoopGauges(loop, meter)
    show = services.show_metrics(settings.metrics, meter.render)
    showing = TroubleReporter(services.journal, "metrics are not shown")

    def follow(now: Settings) -> ManifestFollower:
        return _make_follower(now, loop, meter, services)

    def reload() -> Tuple[ManifestFollower, Tuple[str, ...]]:
        again = reread()
        waiting = tuple(
            setting for setting in AT_RESTART if _get(again, setting) != _get(settings, setting)
        )
        return follow(replace(again, state=settings.state, connect=settings.connect)), waiting

    def measure() -> None:
        measuring.measure()
        showing.run(show)

    for line in services.find_broken():
        services.journal.tell(Event(events.FAILED, f"state: {line}"))
    measure()
    daemon = Daemon(
        loop=loop,
        follower=follow(settings),
        supervisor=services.supervisor,
        journal=services.journal,
        clock=services.clock,
        chance=services.chance,
        resync=settings.resync,
        reload=reload,
        measure=measure,
    )
    return daemon.run()


def _make_follower(
    settings: Settings, loop: Loop, meter: Registry, services: DaemonServices
) -> ManifestFollower:
    interval = settings.git.interval if settings.git else settings.rescan
    return ManifestFollower(
        source=services.open_source(settings),
        watcher=services.make_watcher(),
        listener=ManifestListener(loop.publish, loop.trouble, loop.recovered, loop.watching),
        journal=services.journal,
        meter=meter,
        pace=LookTimer(interval, services.clock.now),
    )


def _get(settings: Settings, name: str) -> object:
    return getattr(settings, name)


def check_config(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Read the file as the daemon does; problems go to standard error, with status 65."""
    path = options.file or options.config or CONFIG_FILE
    services.read_settings(path)
    console.line(f"{escape(path)}: valid")
    return Exit.DONE
