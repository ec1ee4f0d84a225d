"""The row of the kind `Template`: what disks are cloned from. Nothing is ever done to one."""

# ruff: noqa: ARG001, ARG002 - every row has the methods of the Protocol

from __future__ import annotations

from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Tuple

from reconciler.control.ports import Host
from reconciler.core.documents import READING, Claim, Finding
from reconciler.core.guests import GENERALIZE, describe_unknown, is_windows
from reconciler.core.images import normalise
from reconciler.core.key import Key
from reconciler.core.manifest import (
    MACHINE,
    TEMPLATE,
    Desired,
    Locate,
    Place,
    TemplateManifest,
    digest_generation,
    write_canonical,
)
from reconciler.core.plan import Action, ActionKind, PlanOptions
from reconciler.core.world import World
from reconciler.kinds.api import ActionTask, Execute, PassTask, Scene, Sighting, Surroundings
from reconciler.kinds.plain import PlainKind, make_scene


def build_template(data: Mapping[str, Any], place: Place) -> TemplateManifest:
    """Return the manifest of a Template document."""
    spec, labels = data["spec"], data["metadata"].get("labels", {})
    return TemplateManifest(
        name=data["metadata"]["name"],
        place=place,
        domain=spec.get("domain"),
        disk=spec.get("disk"),
        pool=spec.get("pool"),
        volume=spec.get("volume"),
        image=spec.get("image"),
        os=spec.get("os"),
        generalized=_generalized(spec.get("generalized")),
        linked_clones=spec.get("linkedClones", False),
        generation=digest_generation(write_canonical(spec), labels),
        labels=labels,
    )


def check_template(manifest: TemplateManifest) -> List[Finding]:
    """Return what is wrong with a Template."""
    if is_windows(manifest.os) and manifest.generalized is None:
        return [Finding(("spec", "generalized"), f"{manifest.os} is Windows: {GENERALIZE}")]
    return []


def _generalized(data: Any) -> Optional[str]:
    if not isinstance(data, dict):
        return data if data is None else str(data)
    return f"{data['how']}, {data['when']}" if "when" in data else str(data["how"])


class TemplateKind(PlainKind):
    """An image, a volume or a domain that others are made from. Implements `ObjectKind`."""

    name = TEMPLATE
    word = "template"
    is_placed = False
    is_reconciled = False

    def build(self, data: Mapping[str, Any], place: Place, locate: Locate) -> TemplateManifest:
        """Return what a document means."""
        return build_template(data, place)

    def check(self, manifest: TemplateManifest, data: Mapping[str, Any]) -> List[Finding]:
        """Return what is wrong with one document."""
        return check_template(manifest)

    def find_warnings(self, manifest: TemplateManifest) -> Iterator[str]:
        """Yield what is odd about its `os`."""
        text = describe_unknown(manifest.os)
        if text:
            yield f"spec.{text}"

    def claims(self, number: int, manifest: TemplateManifest) -> Iterator[Claim]:
        """Yield its image, which is only read: so may other templates and read-only disks."""
        if manifest.image is not None:
            key: Tuple[str, ...] = ("path", normalise(manifest.image))
            yield Claim(number, ("spec", "image"), key, shared=READING)
        if manifest.volume is not None:
            key = ("volume", manifest.pool or "default", manifest.volume)
            yield Claim(number, ("spec", "volume"), key, shared=READING)

    def needs(self, manifest: TemplateManifest, desired: Desired) -> FrozenSet[Key]:
        """Return the machine whose disk it is."""
        return frozenset({Key(MACHINE, manifest.domain)} if manifest.domain else ())

    def plan(
        self, manifest: TemplateManifest, desired: Desired, world: World, options: PlanOptions
    ) -> Action:
        """Plan nothing."""
        return Action(TEMPLATE, manifest.name, ActionKind.NONE)

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """See nothing."""
        return make_scene(self, task.manifest, World("", ""), None)

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """See nothing."""
        return None

    def find_executor(self, action: Action) -> Execute:
        """Do nothing."""
        return _do_nothing


def _do_nothing(task: ActionTask) -> Tuple[str, ...]:
    return ()


ROW = TemplateKind()
