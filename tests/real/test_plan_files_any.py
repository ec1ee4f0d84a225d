"""For any two manifests: what is planned, kept and applied leaves an empty plan. On real libvirt."""

from __future__ import annotations

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.cli.console import Console
from reconciler.cli.run import run
from reconciler.cli.services import Services
from tests.lab.host import LabHost
from tests.real.hostable import specs
from tests.real.test_convergence import CHIPSETS, REAL
from tests.real.worlds import Product
from tests.strategies import Document


class Desk:
    """The command in this process, with one manifest."""

    def __init__(self, lab: LabHost, folder: str) -> None:
        self.uri, self.folder = lab.uri(), Path(folder)

    def write(self, spec: Document) -> None:
        head = {
            "apiVersion": "virt-reconciler/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": "vm"},
        }
        (self.folder / "vm.yaml").write_text(json.dumps({**head, "spec": spec}), "utf-8")

    def call(self, *words: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        environ = {"XDG_STATE_HOME": str(self.folder / "state")}
        console = Console(out, err, io.StringIO(), environ)
        status = run(["-c", self.uri, *words], console, Services.from_options)
        assert status == 0, err.getvalue()
        return out.getvalue()

    def plan(self, *words: str) -> Dict[str, Any]:
        text = self.call("plan", "--format", "json", *words, str(self.folder / "vm.yaml"))
        [found] = json.loads(text)["resources"]
        return dict(found)


@settings(REAL, max_examples=100)
@given(pair=CHIPSETS.flatmap(lambda one: st.tuples(specs(one, "stopped"), specs(one, "stopped"))))
def test_what_is_kept_and_applied_leaves_nothing_to_do(
    product: Product, lab: LabHost, pair: Tuple[Document, Document]
) -> None:
    product.clear()
    with TemporaryDirectory() as folder:
        desk, kept = Desk(lab, folder), f"{folder}/kept.plan"
        for spec in pair:
            desk.write(spec)
            planned = desk.plan("--out", kept)
            desk.call("apply", "--yes", kept)
            left = desk.plan()
            withheld = [one for one in planned["changes"] if one["effect"] == "withheld"]
            assert left["changes"] == withheld
            assert left["action"] == ("withheld" if withheld else "none")
