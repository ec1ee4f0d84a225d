"""The row of the kind `Template`: what disks are cloned from.

Nothing is done to a template but to fetch the image of one with an address, where a machine of this
host is about to be cloned from it.
"""

# ruff: noqa: ARG002, PLC0415 - every row has the methods of the Protocol; start-up time

from __future__ import annotations

from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.documents import READING, Claim, Finding
from reconciler.core.frozen import replace
from reconciler.core.guests import GENERALIZE, describe_unknown, is_windows
from reconciler.core.images import DEFAULT_POOL, normalise
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import (
    MACHINE,
    TEMPLATE,
    ChecksumList,
    Desired,
    ImageAddress,
    Locate,
    Place,
    TemplateManifest,
    digest_generation,
    name_image,
    write_canonical,
)
from reconciler.core.manifest_files import Differing
from reconciler.core.plan import (
    Action,
    ActionKind,
    Effect,
    PlanOptions,
    Value,
)
from reconciler.core.preparation import build_preparation, list_preparation
from reconciler.core.world import PoolView, Unknown, World
from reconciler.errors import NotFoundError, TransientError
from reconciler.kinds.api import (
    Execute,
    PassTask,
    Scene,
    Sighting,
    Surroundings,
    find_kind,
    read_checksums,
)
from reconciler.kinds.plain import PlainKind
from reconciler.kinds.template.planning import (
    IMAGE_NAME,
    find_image,
    make_sighting,
    plan_template,
)

if TYPE_CHECKING:
    from reconciler.control.ports import Host

STAYS = "its image stays on the hosts that have it; virt-reconciler prune --images deletes it"


def build_template(data: Mapping[str, Any], place: Place) -> TemplateManifest:
    """Return the manifest of a Template document."""
    spec, labels = data["spec"], data["metadata"].get("labels", {})
    name, image = data["metadata"]["name"], spec.get("image")
    address = _build_address(image) if isinstance(image, dict) else None
    return TemplateManifest(
        name=name,
        place=place,
        domain=spec.get("domain"),
        disk=spec.get("disk"),
        pool=spec.get("pool") if address is None else image.get("pool", DEFAULT_POOL),
        volume=spec.get("volume") if address is None else name_image(name, address),
        image=image if address is None else None,
        os=spec.get("os"),
        generalized=_generalized(spec.get("generalized")),
        linked_clones=spec.get("linkedClones", False),
        generation=digest_generation(write_canonical(spec), labels),
        labels=labels,
        address=address,
        preparation=build_preparation(spec.get("prepare"), spec.get("inject")),
        cloudbase=spec.get("cloudbase", False),
    )


def _build_address(data: Mapping[str, Any]) -> ImageAddress:
    given = data.get("checksums")
    listed = given and ChecksumList(given["url"], given["signedBy"], given.get("signature"))
    return ImageAddress(
        data["url"], data.get("sha256", ""), data.get("format", "qcow2"), listed or None
    )


def check_template(manifest: TemplateManifest) -> List[Finding]:
    """Return what is wrong with a Template."""
    if manifest.cloudbase and manifest.os is not None and not is_windows(manifest.os):
        return [Finding(("spec", "cloudbase"), f"{manifest.os} is not Windows; remove it")]
    preparation = manifest.preparation
    if preparation is not None and preparation.injection and not is_windows(manifest.os):
        what = f"os is {manifest.os}" if manifest.os else "the template has no `os`"
        return [Finding(("spec", "inject"), f"only a Windows gets drivers put in, and {what}")]
    if is_windows(manifest.os) and preparation is not None and preparation.seals:
        words = f"{manifest.os} is Windows, which virt-sysprep does not prepare; remove it"
        return [Finding(("spec", "prepare"), f"{words}, and run sysprep in the template")]
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
    drivers = ("qemu", "storage")

    def is_planned(self, manifest: TemplateManifest) -> bool:
        """Whether its image is fetched; to any other nothing is done."""
        return manifest.address is not None

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
            where = ("spec", "volume" if manifest.address is None else "image")
            key = ("volume", manifest.pool or DEFAULT_POOL, manifest.volume)
            yield Claim(number, where, key, shared=READING)

    def needs(self, manifest: TemplateManifest, desired: Desired) -> FrozenSet[Key]:
        """Return the machine whose disk it is, or the pool that its image is fetched into."""
        if manifest.address is not None:
            return frozenset({Key("StoragePool", manifest.pool or DEFAULT_POOL)})
        return frozenset({Key(MACHINE, manifest.domain)} if manifest.domain else ())

    def plan(
        self, manifest: TemplateManifest, desired: Desired, world: World, options: PlanOptions
    ) -> Action:
        """Plan to fetch its image, if a machine of this host is about to be cloned from it."""

        def find_demand() -> bool:
            return any(
                _clones(action, manifest, other, desired)
                for other in _list_users(manifest, desired, world.host)
                for action in [
                    find_row(other.key.kind).plan(
                        other, desired, world, replace(options, unattended=False)
                    )
                ]
            )

        return plan_template(manifest, world, options, find_demand)

    def basis(
        self, manifest: TemplateManifest, desired: Desired, world: World
    ) -> Mapping[str, object]:
        """Return whether its image is there."""
        return {"volume": find_image(manifest, world)}

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """Read the pool of its image; who needs it is seen only if the image is not there."""
        manifest: TemplateManifest = task.manifest
        host, in_force = around.host, task.in_force
        world = World(host.domains.host, host.domains.uri, pools=_read_pool(host, manifest))

        def find_demand(options: PlanOptions) -> bool:
            for other in _list_users(manifest, in_force.desired, world.host):
                scene = find_kind(other.key.kind).look(around, PassTask(other, in_force))
                action = None if scene.unreadable else scene.plan(options)
                if action and _clones(action, manifest, other, in_force.desired):
                    return True
            return False

        def plan(options: PlanOptions) -> Action:
            asked = replace(options, unattended=False)
            if manifest.volume is not None:
                return plan_template(manifest, world, options, lambda: find_demand(asked))
            is_needed = find_demand(asked)
            listed = read_checksums(host, (manifest,)) if is_needed else {}
            seen = replace(world, checksums=listed)
            return plan_template(manifest, seen, options, lambda: is_needed)

        sighting = make_sighting(manifest, world)
        return Scene(
            desired=Desired.of(manifest),
            host=world.host,
            uri=world.uri,
            plan=plan,
            sighting=sighting,
        )

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """Find an image by its name; which of several is meant only the manifest says."""
        for name in host.storage.list_pools():
            for volume in sorted(host.storage.read_pool(name).volumes):
                found = IMAGE_NAME.fullmatch(volume)
                if found and not found["end"] and found["image"].rpartition("-")[0] == key.name:
                    image = f"{name}/{volume}"
                    return Sighting("present", f"as {image}", parts=(image,))
        return None

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """List the images that are there."""
        manifests = [template for template in desired.templates if template.address is not None]
        found = {}
        for manifest in manifests:
            world = World("", "", pools=_read_pool(host, manifest))
            sighting = make_sighting(manifest, world)
            if sighting is not None:
                found[manifest.key] = sighting
        return found

    def list_fields(self, manifest: TemplateManifest) -> Mapping[str, Value]:
        """Return what the manifest says, as it says it."""
        address = manifest.address
        fields = dict(super().list_fields(manifest))
        del fields["address"], fields["preparation"]
        fields.update(list_preparation(manifest.preparation))
        if address is not None:
            del fields["volume"]
            listed = address.checksums
            fields["image.url"] = address.url
            if listed is None:
                fields["image.sha256"] = address.sha256
            else:
                fields["image.checksums.url"] = listed.url
                fields["image.checksums.signedBy"] = listed.signed_by
                fields["image.checksums.signature"] = listed.signature
        return fields

    def compare(
        self, base: Desired, head: Desired, differing: Differing, options: PlanOptions
    ) -> Sequence[Action]:
        """Show what the manifests say otherwise. Whether a host fetches it, only the host shows."""
        return [_restrict(action) for action in super().compare(base, head, differing, options)]

    def find_executor(self, action: Action) -> Execute:
        """Fetch the image."""
        from reconciler.kinds.template.execute import execute_template

        return execute_template


def _restrict(action: Action) -> Action:
    if action.action is not ActionKind.DELETE:
        return action
    changes = tuple(replace(change, effect=Effect.WITHHELD) for change in action.changes)
    return replace(action, action=ActionKind.WITHHELD, changes=changes, reason=STAYS)


def _list_users(manifest: TemplateManifest, desired: Desired, host: str) -> Iterator[Any]:
    """Yield the objects of this host that need the template."""
    for other in desired.objects.values():
        row = find_row(other.key.kind)
        if row.is_here(other, host) and manifest.key in row.needs(other, desired):
            yield other


def _clones(action: Action, manifest: TemplateManifest, other: Any, desired: Desired) -> bool:
    """Whether an action of another object clones from the template."""
    needed = find_row(action.kind).needs_of_action(other, action, desired)
    return bool(action.steps) and manifest.key in needed


def _read_pool(host: Host, manifest: TemplateManifest) -> Mapping[str, Union[PoolView, Unknown]]:
    """Return the pool of the image, by name; nothing if there is none."""
    name = manifest.pool or DEFAULT_POOL
    with suppress(NotFoundError):
        try:
            return {name: host.storage.read_pool(name)}
        except TransientError as error:
            return {name: Unknown(str(error), transient=True)}
    return {}


ROW = TemplateKind()
