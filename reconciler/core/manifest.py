"""Desired objects as a person wrote them: what a manifest means, without where it was read.

The values here are complete and checked; a function that gets one need not doubt it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Tuple, Union

from reconciler.core.daemons.table import Mode
from reconciler.core.model import Disruption, Machine


@dataclass(frozen=True)
class Window:
    """A weekly time in which a restart may happen, in the host's local time.

    `days` are 0 (Monday) to 6 (Sunday); `start` is minutes after midnight, `duration` minutes.
    A window may run past midnight.
    """

    days: Tuple[int, ...]
    start: int
    duration: int


@dataclass(frozen=True)
class Lifecycle:
    """What may be done to the machine unasked. `shutdown_timeout` is seconds.

    `force_off` allows a hard power-off when the guest has not shut down in that time.
    """

    disruption: Disruption = Disruption.WHEN_OFF
    deletion: str = "orphan"
    windows: Tuple[Window, ...] = ()
    shutdown_timeout: int = 120
    force_off: bool = False


@dataclass(frozen=True)
class Place:
    """Where an object was written; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Render as `file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


Locate = Callable[[Tuple[Union[str, int], ...]], Place]
"""Finds where a field of a document was written: `("spec", "disks", 0, "source")`."""


@dataclass(frozen=True)
class MachineManifest:
    """A `VirtualMachine` manifest.

    `generation` is a digest of the canonical `spec` and labels: it changes when they do.
    `spec` is the canonical JSON text of `spec`, kept in the domain as the last applied one.
    `revision` is the Git commit it was read at, where that is known.
    """

    machine: Machine
    generation: str
    spec: str
    place: Place
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    labels: Mapping[str, str] = field(default_factory=dict)
    host: Optional[str] = None
    required_daemons: Tuple[str, ...] = ()
    revision: Optional[str] = None
    locate: Optional[Locate] = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.machine.name

    def find_disk_source(self, name: str) -> Place:
        """Return where the `source` of a disk was written; where the document begins, if unknown.

        Found only when it is asked for: that reads the file's text once more.
        """
        names = [disk.name for disk in self.machine.disks or ()]
        if self.locate is None or name not in names:
            return self.place
        return self.locate(("spec", "disks", names.index(name), "source"))


@dataclass(frozen=True)
class TemplateManifest:
    """A `Template` manifest: exactly one of `domain`, `volume` (with `pool`) and `image` is set.

    `disk` names the disk of `domain` to clone (its target or alias), None means the boot disk.
    `generalized` is the author's word on how and when identity was removed from the image.
    `linked_clones` allows clones that keep depending on the template's image.
    """

    name: str
    place: Place
    domain: Optional[str] = None
    disk: Optional[str] = None
    pool: Optional[str] = None
    volume: Optional[str] = None
    image: Optional[str] = None
    os: Optional[str] = None
    generalized: Optional[str] = None
    linked_clones: bool = False


@dataclass(frozen=True)
class HostManifest:
    """A `Host` manifest: how the daemons of the hosts that `selector` names shall be.

    `mode` is None where it says nothing of daemons. `ensure` allows units to be changed; without it
    they are looked at and no more. Only what is `forbidden` is ever stopped. `uri` is how other
    hosts reach its libvirt.
    """

    name: str
    place: Place
    selector: Tuple[str, ...]
    mode: Optional[Mode] = None
    required: Tuple[str, ...] = ()
    forbidden: Tuple[str, ...] = ()
    ensure: bool = False
    uri: Optional[str] = None


@dataclass(frozen=True)
class Desired:
    """All that the given manifests want, sorted by name."""

    machines: Tuple[MachineManifest, ...] = ()
    templates: Tuple[TemplateManifest, ...] = ()
    hosts: Tuple[HostManifest, ...] = ()

    def template(self, name: str) -> Optional[TemplateManifest]:
        """Return the template of that name, or None."""
        return next((one for one in self.templates if one.name == name), None)
