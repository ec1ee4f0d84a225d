"""Our mark in a domain, and which images its XML names. Doubt says yes.

Only our own element is read or written; the metadata of other tools is none of our business.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.frozen import replace
from reconciler.core.images import ImageUse, read_source
from reconciler.core.names import (
    MARK_NAMESPACE,
    MARK_PREFIX,
    BusChangeMark,
    MovedDevice,
    Owner,
    SeedMark,
    Worker,
)
from reconciler.core.units import show_time
from reconciler.core.xmltree import (
    Element,
    fragment,
    is_element,
    make,
    make_namespaced,
    make_text,
    parse,
    parse_number,
    serialise,
)
from reconciler.kinds.machine.domain import layout


def mentions_image(xml: str, pool: str, name: str, path: str) -> bool:
    """Whether the definition names the volume, by its path, by its pool, or by its file's name.

    A file of the same name in another folder may be the same one by way of a link, so it counts.
    What stands in `<metadata>` is no use of it.
    """
    return any(_names(element, pool, name, path) for element in _elements(parse(xml)))


def _elements(root: Element) -> Iterator[Element]:
    yield root
    for child in root:
        if is_element(child) and child.tag != "metadata":
            yield from child.iter("*")


def _names(element: Element, pool: str, name: str, path: str) -> bool:
    if element.tag == "source" and element.get("pool") == pool and element.get("volume") == name:
        return True
    values = [str(value) for value in element.attrib.values()]
    values.append((element.text or "").strip())
    return any(value == path or value.endswith(f"/{name}") for value in values)


def read_image_uses(root: Element, domain: str, *, is_live: bool) -> Tuple[ImageUse, ...]:
    """Return what images a domain's disks and drives have, with what the XML lists below them."""
    disks = root.iterfind("devices/disk")
    uses = (_read_use(disk, domain, is_live=is_live) for disk in disks)
    return tuple(use for use in uses if use.path)


def _read_use(disk: Element, domain: str, *, is_live: bool) -> ImageUse:
    driver, target = disk.find("driver"), disk.find("target")
    return ImageUse(
        domain,
        "" if target is None else target.get("dev", ""),
        read_source(disk.find("source")) or "",
        "" if driver is None else driver.get("type", ""),
        writes=disk.find("readonly") is None and disk.get("device") != "cdrom",
        shareable=disk.find("shareable") is not None,
        is_live=is_live,
        below=tuple(_read_below(disk)),
        mirror=_read_mirror(disk.find("mirror")),
    )


def _read_below(disk: Element) -> Iterator[Tuple[str, str]]:
    below = disk.find("backingStore")
    while below is not None:
        name = read_source(below.find("source"))
        if name is None:
            return  # an empty element ends the chain
        kind = below.find("format")
        yield name, "" if kind is None else kind.get("type", "")
        below = below.find("backingStore")


def _read_mirror(mirror: Optional[Element]) -> Optional[str]:
    if mirror is None:
        return None
    return read_source(mirror.find("source")) or mirror.get("file")


_OURS = f"{{{MARK_NAMESPACE}}}"
_TAG = f"{_OURS}manifest"
_LEADERS = ("name", "uuid", "genid", "title", "description")


def read_owner(root: Element) -> Optional[Owner]:
    """Return our mark, or None if the domain is not ours."""
    element = _find(root)
    if element is None:
        return None
    inside: Dict[str, List[Element]] = {}
    for child in element.iterchildren(f"{_OURS}*"):  # once: a plan reads the marks of all domains
        inside.setdefault(child.tag[len(_OURS) :], []).append(child)
    [spec, worker, seed, change] = [
        inside[tag][0] if tag in inside else None for tag in ("spec", "worker", "seed", "busChange")
    ]
    return Owner(
        name=element.get("name", ""),
        generation=element.get("generation", ""),
        spec=(None if spec is None else spec.text) or "{}",
        os=element.get("os"),
        creating=_read_all(inside, "creating", "path"),
        revision=element.get("revision"),
        made=_read_all(inside, "made", "path"),
        worker=_read_worker(worker),
        formerly=_read_all(inside, "formerly", "name"),
        is_unfinished=element.get("unfinished") == "yes",
        seed=_read_seed(seed),
        secrets=tuple(
            zip(_read_all(inside, "secret", "of"), _read_all(inside, "secret", "digest"))
        ),
        bus_change=None if change is None else _read_bus_change(change, inside),
    )


def _read_all(inside: Mapping[str, List[Element]], tag: str, attribute: str) -> Tuple[str, ...]:
    return tuple([child.get(attribute, "") for child in inside.get(tag, ())])


def _read_worker(element: Optional[Element]) -> Optional[Worker]:
    if element is None:
        return None
    get = element.get
    try:
        return Worker(
            machine=get("machine", ""),
            host=get("host", ""),
            process=int(get("process", "")),
            started=int(get("started", "")),
            verb=get("verb", ""),
            since=float(get("since", "0")),
        )
    except ValueError:
        return None  # somebody edited it


def _read_seed(element: Optional[Element]) -> Optional[SeedMark]:
    if element is None:
        return None
    get = element.get
    return SeedMark(
        instance=get("instance", ""),
        digest=get("digest", ""),
        count=parse_number(get("count", "1")),
        pool=get("pool", ""),
        volume=get("volume", ""),
        path=get("path", ""),
        since=parse_number(get("since", "0")),
        secrets=get("secrets", ""),
    )


def _read_bus_change(element: Element, inside: Mapping[str, List[Element]]) -> BusChangeMark:
    get = element.get
    moved = inside.get("moved", ())
    values: Dict[str, Any] = {name: get(name, "") for name in _TEXTS}
    values.update((name, parse_number(get(name, "0"))) for name in _TIMES)
    devices = [
        MovedDevice(disk.get("name", ""), disk.text or "", disk.get("target", "")) for disk in moved
    ]
    return BusChangeMark(**values, resumes=get("resumes") == "yes", moved=tuple(devices))


_HELPER_TEXTS = ("bus", "serial", "model", "mac", "pool", "volume", "path", "media")
_TEXTS = (*_HELPER_TEXTS, "install_result", "driver", "failed", "overdue", "generation")
_TIMES = ("begun", "installed", "proved", "switched", "started")


def _write_bus_change(mark: BusChangeMark) -> Iterator[Element]:
    values = {name: getattr(mark, name) or None for name in (*_TEXTS, *_TIMES)}
    yield make("busChange", {**values, "resumes": "yes" if mark.resumes else None})
    for disk in mark.moved:
        yield make_text("moved", disk.xml, {"name": disk.name, "target": disk.target or None})


def note_start(xml: str, now: float) -> str:
    """Return the mark of a definition, which says what its guest runs with from now on.

    That is its seed, or its disks on another bus; empty if there is nothing to say.
    """
    owner = read_owner(parse(xml))
    if owner is None:
        return ""
    seed, change = owner.seed, owner.bus_change
    if seed is not None and seed.is_attached and not seed.since:
        seed = replace(seed, since=round(now))
    if change is not None and change.switched and not change.started:
        change = replace(change, started=max(round(now), 1), resumes=False)
    noted = replace(owner, seed=seed, bus_change=change)
    return "" if noted == owner else owner_xml(noted)


def note_installation(xml: str, result: str) -> str:
    """Return the mark of a definition, which says how a driver's installation ended.

    Empty if there is no staged bus change any more.
    """
    owner = read_owner(parse(xml))
    change = None if owner is None else owner.bus_change
    if owner is None or change is None:
        return ""
    results = "; ".join(filter(None, (change.install_result, result)))
    return owner_xml(replace(owner, bus_change=replace(change, install_result=results)))


def describe_installation(mark: BusChangeMark) -> str:
    """Say when the drivers were installed by the guest's agent, and how that ended."""
    result = mark.install_result or "how it ended is not known"
    return f"pnputil was run in the guest at {show_time(mark.installed)}: {result}"


def sign_mark(xml: str, worker: Worker) -> str:
    """Say in a mark that names unfinished volumes who makes them; all else stays as it is.

    `xml` is a domain's, or the mark alone as `owner_xml` returns it.
    """
    if "creating" not in xml:
        return xml
    root = parse(xml)
    if root.tag == "manifest":
        if root.find("creating") is None:
            return xml
        for former in root.findall("worker"):
            root.remove(former)
        root.append(_worker(worker))
        return fragment(root)
    owner = read_owner(root)
    if owner is None or not owner.creating:
        return xml
    return set_owner(xml, replace(owner, worker=worker))


def drop_owner(xml: str) -> str:
    """Return the domain XML without our mark, to compare all the rest."""
    root = parse(xml)
    former = _find(root)
    if former is None:
        return xml
    metadata = former.getparent()
    layout.remove(former)
    if metadata is not None and not len(metadata):
        layout.remove(metadata)
    return serialise(root)


def owner_xml(owner: Owner) -> str:
    """Return the mark for virDomainSetMetadata, which adds namespace and prefix itself."""
    return fragment(_plain(owner))


def set_owner(xml: str, owner: Owner) -> str:
    """Return the domain XML with our mark in place of a former one."""
    root = parse(xml)
    former = _find(root)
    if former is not None:
        layout.remove(former)
    layout.append(_metadata(root), _namespaced(_plain(owner)))
    return serialise(root)


def _find(root: Element) -> Optional[Element]:
    marks = (mark for child in root.iterchildren("metadata") for mark in child.iterchildren(_TAG))
    return next(marks, None)


def _plain(owner: Owner) -> Element:
    head = {"name": owner.name, "generation": owner.generation, "os": owner.os}
    head["revision"] = owner.revision
    head["unfinished"] = "yes" if owner.is_unfinished else None
    volumes = [make("creating", {"path": path}) for path in owner.creating]
    volumes += [make("made", {"path": path}) for path in owner.made]
    volumes += [make("formerly", {"name": name}) for name in owner.formerly]
    if owner.seed is not None:
        said = {field.name: getattr(owner.seed, field.name) or None for field in fields(owner.seed)}
        volumes.append(make("seed", said))
    if owner.bus_change is not None:
        volumes.extend(_write_bus_change(owner.bus_change))
    volumes += [make("secret", {"of": ref, "digest": digest}) for ref, digest in owner.secrets]
    if owner.creating and owner.worker is not None:
        volumes.append(_worker(owner.worker))
    return make("manifest", head, make_text("spec", owner.spec), *volumes)


def _worker(worker: Worker) -> Element:
    return make(
        "worker",
        {
            "machine": worker.machine,
            "host": worker.host,
            "process": worker.process,
            "started": worker.started,
            "verb": worker.verb,
            "since": round(worker.since),
        },
    )


def _namespaced(element: Element) -> Element:
    twin = make_namespaced(f"{{{MARK_NAMESPACE}}}{element.tag}", {MARK_PREFIX: MARK_NAMESPACE})
    twin.text = element.text
    twin.attrib.update(element.attrib)
    twin.extend(_namespaced(child) for child in element)
    return twin


def _metadata(root: Element) -> Element:
    """Return the domain's metadata element, made where libvirt writes it."""
    there = root.find("metadata")
    if there is not None:
        return there
    element = make("metadata")
    leaders = [child for child in root if child.tag in _LEADERS]
    if leaders:
        layout.insert_after(leaders[-1], element)
    else:
        layout.insert_first(root, element)
    return element
