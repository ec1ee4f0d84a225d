"""Domains of other tools: exported, adopted, and changed in one field, which is all that changes.

Most stay off: what is looked at is libvirt's stored definition, which libvirt gives in one form.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import yaml
from lxml import etree

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.adapters.manifests.reader import load_manifests
from tests.lab.host import LabHost
from tests.real.foreign import SHAPES
from tests.real.foreign.commanding import Commanding
from tests.real.foreign.edits import EDITS
from tests.real.offering import Offering
from tests.real.worlds import Product

MARK = re.compile(r"\n    <vr:manifest .*?</vr:manifest>", re.DOTALL)
EMPTY = "  <metadata>\n  </metadata>\n"
IMAGE = re.compile(r"@IMAGES@/([^'\"<]*\.(?:qcow2|img))['\"]|volume='([^']*\.qcow2)'")
NAMES = sorted(SHAPES)
EVERY = 4  # a field is changed in every fourth domain; each field in each takes two minutes
# They can be started on any host.
RUNNING = ["debian11", "disk-iotune", "cdrom-empty", "graphics", "nics-alike", "disk-volume"]
PARTS = {"one half": NAMES[::2], "the other half": NAMES[1::2]}


@dataclass
class Herd:
    """Foreign domains on the host, their definitions and their manifests."""

    product: Product
    lab: LabHost
    command: Commanding
    folder: Path
    before: Dict[str, str] = field(default_factory=dict)
    manifests: Dict[str, Dict[str, Any]] = field(default_factory=dict)

    def define(self, shapes: List[str]) -> None:
        """Define them, and keep what libvirt makes of them."""
        self._make_images([SHAPES[one] for one in shapes])
        offering = Offering.of(self.lab)
        define = self.product.host.domains._connection.defineXML  # type: ignore[attr-defined]
        for shape in shapes:
            text = SHAPES[shape].replace("@IMAGES@", str(self.lab.images))
            domain = define(offering.fit(text))
            define(domain.XMLDesc(3))  # libvirt moves some by itself, the first time
            self.before[domain.name()] = self.product.xml(domain.name())

    def _make_images(self, texts: List[str]) -> None:
        seed = self.folder / "seed.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", seed, "64M"], check=True)
        for found in IMAGE.finditer("\n".join(texts)):
            shutil.copy(seed, self.lab.images / (found[1] or found[2]))
        self.lab.virsh("pool-refresh", "default")

    def export(self) -> None:
        """Export all of them."""
        text = self.command("export", "--all")
        documents = list(yaml.load_all(text, yaml.CSafeLoader))
        self.manifests = {document["metadata"]["name"]: document for document in documents}
        self.path.write_text(text, encoding="utf-8")
        assert load_manifests([str(self.path)]).problems == ()
        assert sorted(self.manifests) == sorted(self.before)

    @property
    def path(self) -> Path:
        """The manifests' file."""
        return self.folder / "all.yaml"

    def apply(self) -> Dict[str, str]:
        """Apply the manifests as they are now; return what failed, or would be changed again."""
        text = "\n---\n".join(map(json.dumps, self.manifests.values()))  # YAML as well, and fast
        self.path.write_text(text, encoding="utf-8")
        loaded = load_manifests([str(self.path)])
        assert loaded.problems == ()
        machines = loaded.desired.machines
        failed = {one.name: one.error for one in self.product.apply(*machines) if one.error}
        again = self.product.plan(*machines).actions
        return {**{one.name: repr(one) for one in again if one.changes}, **failed}


@pytest.fixture
def herd(product: Product, lab: LabHost, lab_host: LibvirtHost, tmp_path: Path) -> Herd:
    """Return an empty one."""
    return Herd(product, lab, Commanding(lab_host, tmp_path / "state"), tmp_path)


def without_mark(xml: str, before: str) -> str:
    """Return the definition without what adoption adds."""
    text = MARK.sub("", xml)
    former = "  <metadata/>\n" if "<metadata/>" in before else ""
    return text if "<metadata>" in before else text.replace(EMPTY, former)


Shape = Tuple[Any, ...]


def shape_of(element: Any) -> Shape:
    """Return an element as a value in which the order of children says nothing."""
    children = [one for one in element if isinstance(one.tag, str) and "virt-recon" not in one.tag]
    below = tuple(sorted(map(shape_of, children), key=repr))
    return (element.tag, sorted(element.attrib.items()), (element.text or "").strip(), below)


def pieces(root: Any) -> List[Shape]:
    """Return what a definition consists of: root's elements, and each device."""
    parts = [one for one in root if one.tag not in ("devices", "metadata")]
    parts += [*root.iterfind("devices/*"), *root.iterfind("metadata/*")]
    return sorted((shape_of(part) for part in parts if "virt-recon" not in part.tag), key=repr)


@pytest.mark.parametrize("part", PARTS)
def test_foreign_domains_are_exported_adopted_and_changed_in_one_field(
    herd: Herd, part: str
) -> None:
    herd.define(PARTS[part])
    herd.export()
    herd.command("adopt", *herd.before, "-f", str(herd.path))
    for name, before in herd.before.items():
        assert without_mark(herd.product.xml(name), before) == before
    assert "No changes" in herd.command("plan", "--detailed-exitcode", str(herd.path))
    wrong = [f"{what}: {one}" for what in EDITS for one in change(herd, what)]
    assert not wrong, "\n".join(wrong)


def change(herd: Herd, what: str) -> Iterator[str]:
    """Change that field in its turn of the domains; yield where that is not what happened."""
    expected, edit = {}, EDITS[what]
    for name in list(herd.before)[list(EDITS).index(what) % EVERY :: EVERY]:
        root = etree.fromstring(herd.product.xml(name))
        manifest = deepcopy(herd.manifests[name])
        if edit.edit(manifest["spec"], root):
            herd.manifests[name] = manifest
            edit.expect(root)
            expected[name] = pieces(root)
    assert expected
    failed = herd.apply()
    for name, wanted in expected.items():
        found = pieces(etree.fromstring(herd.product.xml(name)))
        if found != wanted or name in failed:
            lost, new = less(wanted, found), less(found, wanted)
            yield f"{name}: {failed.get(name)}: wanted {lost}, found {new}"


def less(one: List[Shape], other: List[Shape]) -> List[Shape]:
    """Return what only the one has."""
    return [piece for piece in one if piece not in other]


def test_running_guests_notice_nothing_of_an_adoption_and_it_is_all_or_nothing(
    herd: Herd,
) -> None:
    herd.define(RUNNING)
    for name in herd.before:
        herd.lab.virsh("start", name)
    live = {name: herd.product.live_xml(name) for name in herd.before}
    herd.export()
    names = list(herd.before)

    odd, *_ = names
    text = herd.path.read_text(encoding="utf-8")
    size = herd.manifests[odd]["spec"]["memory"]
    herd.path.write_text(text.replace(f"memory: {size}", "memory: 100MiB", 1), encoding="utf-8")
    assert "memory" in herd.command("adopt", *names, "-f", str(herd.path), status=4)
    assert {name: herd.product.live_xml(name) for name in names} == live
    assert {name: herd.product.xml(name) for name in names} == herd.before

    herd.path.write_text(text, encoding="utf-8")
    herd.command("adopt", *names, "-f", str(herd.path))
    assert "No changes" in herd.command("plan", "--detailed-exitcode", str(herd.path))
    for name in names:  # the id of a run is in its configuration
        assert MARK.search(herd.product.live_xml(name))
        assert without_mark(herd.product.live_xml(name), live[name]) == live[name]
        assert without_mark(herd.product.xml(name), herd.before[name]) == herd.before[name]
