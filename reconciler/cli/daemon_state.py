"""The daemon's memory as commands see it, and what a running daemon would undo.

The history of what is done by hand is the daemon's where it is for its host, and this user may
write there. Else it lies below the user's own state, one folder for each host.

Such a change is withheld before anybody is asked: a success that is undone in the same second is
none. A person who means it suspends the machine first.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from reconciler.cli.console import Console, find_caller
from reconciler.cli.names import find_entries
from reconciler.cli.plans import Prepared
from reconciler.cli.services import Services
from reconciler.cli.settings import refuse_another_host, settings_of, settings_to_order
from reconciler.core.frozen import replace
from reconciler.core.key import Key, show_key
from reconciler.core.manifest import Manifest
from reconciler.core.names import name_place
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.settings import Settings
from reconciler.errors import InvalidManifestError, ReconcilerError, TransientError
from reconciler.kinds.machine.elsewhere import Background

if TYPE_CHECKING:
    from reconciler.adapters.state.measurements import FolderMeasurements
    from reconciler.control.change_recorder import ChangeRecorder
    from reconciler.control.ports import Host
    from reconciler.control.service_ports import DaemonMemory
    from reconciler.core.history import LastKnown
    from reconciler.core.overview import Overview, OverviewEntry
    from reconciler.core.records import SourceRecord, Suspension


# Who is there, by name and URI; asked for only where it matters.
Whereabouts = Callable[[], Tuple[str, str]]


def find_chronicle(
    options: argparse.Namespace,
    prepared: Prepared,
    console: Console,
    services: Services,
    back_to: Optional[int] = None,
) -> ChangeRecorder:
    """Return where a plan that is carried out is written down, and as whose doing."""
    from reconciler.control.change_recorder import ChangeRecorder  # noqa: PLC0415 - start-up time
    from reconciler.core.history import ChangeCause  # noqa: PLC0415 - start-up time

    plan = prepared.plan
    folder = find_history(options, console, services, lambda: (plan.host, plan.uri))
    paths = getattr(options, "paths", None)
    revision = plan.revision or (services.read_revision(paths) if paths else None)
    cause = ChangeCause(find_caller(console.environ), str(options.verb), revision, back_to)
    return ChangeRecorder(services.reach_history(folder), cause, services.clock.wall, console.note)


def whereabouts_of(host: Host) -> Whereabouts:
    """Return how to ask a host."""
    return lambda: (host.domains.host, host.domains.uri)


def read_state(options: argparse.Namespace, console: Console, services: Services) -> Optional[str]:
    """Return the state folder of the daemon for this libvirt; None where there never was one."""
    state = _read_settings(options, services).state
    if not is_daemons(options, console, services) or not _is_there(state):
        return None
    return state


def _is_there(folder: str) -> bool:
    """Whether there is such a folder; one that may not be looked at is there."""
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def find_history(
    options: argparse.Namespace, console: Console, services: Services, where: Whereabouts
) -> str:
    """Return the folder of the history that this command reads and writes."""
    from reconciler.core.history import FOLDER  # noqa: PLC0415 - start-up time

    state = _read_settings(options, services).state
    if is_daemons(options, console, services) and _may_write(state):
        return os.path.join(state, FOLDER)
    return os.path.join(_own_state(console, where), FOLDER)


def recall_with(
    options: argparse.Namespace, console: Console, services: Services
) -> Callable[[Host], Background]:
    """Return how to find out what is known of machines that a host has no more."""

    def recall(host: Host) -> Background:
        folders = functools.cache(
            lambda: find_histories(options, console, services, whereabouts_of(host))
        )
        return Background(
            lambda key: find_last(key, folders(), services),
            _find_placed(options, console, services),
            services.connect,
        )

    return recall


def _find_placed(
    options: argparse.Namespace, console: Console, services: Services
) -> Callable[[Key], str]:
    """Return how to find where the daemon has seen an object placed before."""

    @functools.cache
    def load() -> Mapping[Key, str]:
        state = read_state(options, console, services)
        with suppress(ReconcilerError):
            return {} if state is None else services.reach_memory(state).load_placements()
        return {}

    return lambda key: load().get(key, "")


def find_last(key: Key, folders: Sequence[str], services: Services) -> Optional[LastKnown]:
    """Return the newest definition of an object in these histories; what cannot be read is not."""
    found = []
    for folder in folders:
        with suppress(ReconcilerError):
            found.append(services.reach_history(folder).find_last(key))
    return max(
        (known for known in found if known is not None), key=lambda known: known.at, default=None
    )


def find_histories(
    options: argparse.Namespace, console: Console, services: Services, where: Whereabouts
) -> Sequence[str]:
    """Return the folders of the histories that are looked through: one's own, the daemon's."""
    from reconciler.core.history import FOLDER  # noqa: PLC0415 - start-up time

    found = [os.path.join(_own_state(console, where), FOLDER)]
    if is_daemons(options, console, services):
        found.append(os.path.join(_read_settings(options, services).state, FOLDER))
    return found


def find_measurements(
    options: argparse.Namespace, console: Console, services: Services
) -> FolderMeasurements:
    """Return what was measured: with the daemon's memory, or one's own.

    The daemon's folder is never made: that it is there says where the history is.
    """
    state = _read_settings(options, services).state
    return services.reach_measurements(state if _may_write(state) else _find_home(console))


def _own_state(console: Console, where: Whereabouts) -> str:
    return os.path.join(_find_home(console), name_place(*where()))


def _find_home(console: Console) -> str:
    home = console.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "virt-reconciler")


def is_daemons(options: argparse.Namespace, console: Console, services: Services) -> bool:
    """Whether the command is for the libvirt that the daemon looks after."""
    if options.config is not None:
        return True
    uri = options.connect or console.environ.get("LIBVIRT_DEFAULT_URI")
    own = argparse.Namespace(config=None, connect=None)
    return not uri or uri == _read_settings(own, services).connect


def mention_suspended(
    prepared: Prepared, options: argparse.Namespace, console: Console, services: Services
) -> Prepared:
    """Say in the plan which of the objects it changes the daemon leaves alone."""
    changing = any(action.steps for action in prepared.plan.actions)
    suspended = _find_suspended(options, console, services) if changing else {}
    now = services.clock.wall()
    actions = tuple(
        replace(action, notes=(*action.notes, _mention(suspended[action.key], now)))
        if action.steps and action.key in suspended
        else action
        for action in prepared.plan.actions
    )
    return replace(prepared, plan=replace(prepared.plan, actions=actions))


def _mention(suspension: Suspension, now: float) -> str:
    from reconciler.core.render.status import show_suspension  # noqa: PLC0415 - start-up time

    told = show_suspension(suspension, now)
    return f"suspended {told}; the daemon does not change it, but this command does"


def _find_suspended(
    options: argparse.Namespace, console: Console, services: Services
) -> Mapping[Key, Suspension]:
    """Return what the daemon was told to leave alone, as far as this user may know."""
    if not is_daemons(options, console, services):
        return {}
    try:
        return services.reach_memory(_read_settings(options, services).state).suspended()
    except ReconcilerError:
        return {}


def _read_settings(options: argparse.Namespace, services: Services) -> Settings:
    """Return the settings; the defaults where the usual file is of no use to this user."""
    try:
        return settings_of(options, services)
    except InvalidManifestError:
        return settings_to_order(options, services)
    except ReconcilerError:
        if options.config is not None:
            raise
        return Settings()


def _may_write(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


class Orders(NamedTuple):
    """The daemon's memory, and what it has of the machines that an order is for."""

    memory: DaemonMemory
    overview: Overview
    entries: Mapping[Key, Optional[OverviewEntry]]


def prepare_orders(
    options: argparse.Namespace, console: Console, services: Services, outcome: str
) -> Optional[Orders]:
    """Return what an order to the daemon needs; None if one of its machines is not known.

    `outcome` is what no machine is then, in the message: resumed, retried, suspended.
    """
    refuse_another_host(options, services, console)
    memory = services.reach_memory(settings_to_order(options, services, console).state)
    overview = look_into(memory)
    entries = find_entries(options.names, overview, console)
    if entries is None:
        console.error(f"nothing was {outcome}")
        return None
    return Orders(memory, overview, entries)


def look_into(memory: DaemonMemory) -> Overview:
    """Return everything that is remembered. Raises TransientError."""
    from reconciler.core.overview import Overview, make_entries  # noqa: PLC0415 - start-up time

    return Overview(
        entries=make_entries(memory.load_records(), memory.suspended()),
        source=memory.load_source(),
        daemon=memory.find_daemon(),
        last_sign=memory.find_last_sign(),
        broken=tuple(memory.find_broken()),
        hindrance=memory.find_hindrance(),
    )


def say_when(daemon: Optional[int], what: str) -> str:
    """Return when the daemon will heed it; `what` it will do then."""
    if daemon is None:
        return f"The daemon does not run; once it does, it {what}."
    return f"Within seconds the daemon {what}; what is under way already is finished."


SHORT = 12  # characters of a commit


def withhold_conflicts(
    prepared: Prepared, options: argparse.Namespace, console: Console, services: Services
) -> Tuple[Prepared, Tuple[str, ...]]:
    """Return the plan without what the daemon here would undo, and the objects concerned."""
    if not any(action.steps for action in prepared.plan.actions):
        return prepared, ()
    reasons = _find_reasons(prepared, options, console, services)
    actions = tuple(
        _withhold(action, reasons[action.key]) if action.steps and action.key in reasons else action
        for action in prepared.plan.actions
    )
    names = tuple(
        action.name for action, now in zip(prepared.plan.actions, actions) if action != now
    )
    return replace(prepared, plan=replace(prepared.plan, actions=actions)), names


def _find_reasons(
    prepared: Prepared, options: argparse.Namespace, console: Console, services: Services
) -> Mapping[Key, str]:
    """Return why objects are left to the daemon; none where it does not run."""
    state = read_state(options, console, services)
    if state is None:
        return {}
    memory = services.reach_memory(state)
    try:
        daemon = memory.find_daemon()
        return {} if daemon is None else _compare(prepared, memory, daemon)
    except TransientError as error:
        console.note(f"cannot find out whether a daemon would undo this: {error}")
        return {}


def _compare(prepared: Prepared, memory: DaemonMemory, daemon: int) -> Mapping[Key, str]:
    from reconciler.core.prune import is_followed  # noqa: PLC0415 - start-up time

    records, suspended = memory.load_records(), memory.suspended()
    who = f"the daemon{f' (process {daemon})' if daemon else ''}"
    follows = f"{who} follows {_describe(memory.load_source())}"
    found: Dict[Key, str] = {}
    for key, manifest in prepared.desired.objects.items():
        record = records.get(key)
        if record is None or key in suspended or not is_followed(record):
            continue
        if _differs(manifest, record.generation):
            suspend = f"virt-reconciler suspend {shlex.quote(show_key(key))}"
            found[key] = (
                f"{follows} and would undo this: change the manifest there, or first: {suspend}"
            )
    return found


def _differs(manifest: Manifest, generation: Optional[str]) -> bool:
    return generation is not None and generation != manifest.generation


def _describe(source: SourceRecord) -> str:
    return f"commit {source.revision[:SHORT]}" if source.revision else "other manifests"


def _withhold(action: Action, reason: str) -> Action:
    changes = tuple(replace(change, effect=Effect.WITHHELD, reason="") for change in action.changes)
    return replace(action, action=ActionKind.WITHHELD, changes=changes, steps=(), reason=reason)
