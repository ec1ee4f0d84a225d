"""What is wrong between documents: the same name, image or address twice, templates that are not.

Objects are told apart by their number among all documents, so that a clash can name both places.
"""

from __future__ import annotations

from itertools import combinations
from typing import (
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.documents import Clash, DocumentPath, Finding
from reconciler.core.frozen import frozen
from reconciler.core.images import normalise
from reconciler.core.machine import Disk
from reconciler.core.manifest import HostManifest, MachineManifest, TemplateManifest
from reconciler.core.names import volume_name
from reconciler.kinds.host.document import check_hosts
from reconciler.kinds.machine.checks import GENERALIZE, items_of
from reconciler.kinds.machine.guests import is_windows

Manifest = Union[HostManifest, MachineManifest, TemplateManifest]

_NAME: DocumentPath = ("metadata", "name")
_DEFAULT_POOL = "default"
SHARE = "; if guests share a raw image, set shareable: true on this disk of both"
READING, WRITING = "reading", "writing"
_Key = Tuple[str, ...]


@frozen
class Claim:
    """Something that only one may have. Two meet if they can be on one host (None is any).

    `shared` says how several may have it: all of them reading, or all of them writing knowingly.
    `is_raw` is true of an image that may be raw, so that several could write to it.
    """

    number: int
    path: DocumentPath
    key: _Key
    host: Optional[str] = None
    shared: str = ""
    is_raw: bool = False

    def meets(self, other: Claim) -> bool:
        """Whether not both can be granted."""
        if self.shared and self.shared == other.shared:
            return False
        return self.host == other.host or self.host is None or other.host is None


@frozen
class Together:
    """All documents, by number. `names` also has those that are invalid: (kind, name) of each."""

    names: Mapping[int, Tuple[str, str]]
    manifests: Mapping[int, Manifest]
    invalid: FrozenSet[int] = frozenset()


def check_together(documents: Together) -> Tuple[List[Clash], Mapping[int, List[Finding]]]:
    """Return the clashes between documents, and the findings about single ones by number."""
    clashes = list(_find_clashes(documents))
    spoiled = (
        documents.invalid | {clash.one for clash in clashes} | {clash.other for clash in clashes}
    )
    findings = {
        number: list(_check_templates(manifest, documents, spoiled))
        for number, manifest in documents.manifests.items()
        if isinstance(manifest, MachineManifest)
    }
    for number, finding in check_hosts(documents.manifests):
        findings.setdefault(number, []).append(finding)
    return clashes, {number: found for number, found in findings.items() if found}


def _find_clashes(documents: Together) -> Iterator[Clash]:
    by_key: Dict[_Key, List[Claim]] = {}
    for claim in _all_claims(documents):
        by_key.setdefault(claim.key, []).append(claim)
    for key, claims in by_key.items():
        yield from _clashes_of(key, claims)


def _clashes_of(key: _Key, claims: Sequence[Claim]) -> Iterator[Clash]:
    """Yield one clash for each claim that meets an earlier one."""
    told = set()
    for earlier, later in combinations(claims, 2):
        if later not in told and earlier.meets(later):
            told.add(later)
            message = f"{_describe(key)} is already used"
            could_share = earlier.is_raw and later.is_raw and earlier.number != later.number
            advice = SHARE if could_share else ""
            yield Clash(later.number, later.path, message, earlier.number, earlier.path, advice)


def _describe(key: _Key) -> str:
    kind, *words = key
    return {"volume": "volume {1!r} of pool {0!r}", "path": "image {0}"}.get(
        kind, f"{kind} {{0}}"
    ).format(*words)


def _all_claims(documents: Together) -> Iterator[Claim]:
    for number, (kind, name) in sorted(documents.names.items()):
        yield Claim(number, _NAME, (f"{kind} name", name))
    for number, manifest in sorted(documents.manifests.items()):
        if isinstance(manifest, MachineManifest):
            yield from _claims_of_machine(number, manifest)
        elif isinstance(manifest, TemplateManifest):
            yield from _claims_of_template(number, manifest)


def _claims_of_template(number: int, template: TemplateManifest) -> Iterator[Claim]:
    """Yield the image, which is only read: so may other templates and read-only disks."""
    if template.image is not None:
        yield Claim(number, ("spec", "image"), ("path", normalise(template.image)), shared=READING)
    if template.volume is not None:
        key = ("volume", template.pool or _DEFAULT_POOL, template.volume)
        yield Claim(number, ("spec", "volume"), key, shared=READING)


def _claims_of_machine(number: int, manifest: MachineManifest) -> Iterator[Claim]:
    machine = manifest.machine
    if machine.uuid is not None:
        yield Claim(number, ("spec", "uuid"), ("uuid", machine.uuid))
    for path, one in items_of(machine, "interfaces"):
        if one.mac is not None:
            yield Claim(number, (*path, "mac"), ("mac", one.mac))
    disks = {disk.name: (path, disk) for path, disk in items_of(machine, "disks")}
    for path, disk in disks.values():  # once by name: two of one name are told elsewhere
        where, key = _image_of(path, disk, machine.name)
        if key is not None:
            yield Claim(
                number, where, key, manifest.host, _find_sharing(disk), disk.format in (None, "raw")
            )


def _find_sharing(disk: Disk) -> str:
    if disk.readonly:
        return READING
    return WRITING if disk.shareable else ""


def _image_of(path: DocumentPath, disk: Disk, machine: str) -> Tuple[DocumentPath, Optional[_Key]]:
    """Return what the disk writes to, also where the volume is still to be made."""
    if disk.source is not None:
        return (*path, "source", "path"), ("path", normalise(disk.source))
    pool = disk.pool or _DEFAULT_POOL
    if disk.volume is not None:
        return (*path, "source", "volume"), ("volume", pool, disk.volume)
    if disk.size is None and disk.template is None:
        return path, None
    return path, ("volume", pool, volume_name(machine, disk.name, disk.format or "qcow2"))


def _check_templates(
    manifest: MachineManifest, documents: Together, spoiled: Iterable[int]
) -> Iterator[Finding]:
    for path, disk in items_of(manifest.machine, "disks"):
        if disk.template is not None:
            where = (*path, "source", "template")
            message = _check_template(disk.template, manifest.machine.os, documents, spoiled)
            if message:
                yield Finding(where, message)


def _check_template(
    name: str, os: Optional[str], documents: Together, spoiled: Iterable[int]
) -> Optional[str]:
    numbers = [one for one, known in documents.names.items() if known == ("Template", name)]
    if not numbers:
        there = ", ".join(
            sorted({known for kind, known in documents.names.values() if kind == "Template"})
        )
        return f"no Template {name!r} among the given manifests; there are: {there or 'none'}"
    if any(number in spoiled for number in numbers):
        return f"Template {name!r} is itself invalid"
    template = documents.manifests[numbers[0]]
    if isinstance(template, TemplateManifest) and template.generalized is None and is_windows(os):
        return f"{os} is Windows, and Template {name!r} is not generalized: {GENERALIZE}"
    return None
