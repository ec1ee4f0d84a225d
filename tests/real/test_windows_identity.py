"""An answer file on real libvirt: what a guest reads on its CD-ROM, who else sees it, that it goes."""

from __future__ import annotations

import base64
import io
import os
import stat
from dataclasses import replace
from pathlib import Path

import pycdlib

from reconciler.adapters.libvirt.host import connect
from reconciler.adapters.secrets import LocalSecrets
from reconciler.core.answer_file import ANSWER_FILE, WindowsIdentity, render_answers
from reconciler.core.plan import ActionKind
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.secrets import fill_document
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.namespaces import list_commands
from tests.real.booting import Bench
from tests.real.scenarios import BASE
from tests.real.test_first_boot import apply, drives, find_mark, plan
from tests.real.worlds import Product

SECRET = 'w9Kx"4<&>,\\é'  # noqa: S105 - what the test looks for


def read_medium(guest: Guest) -> str:
    """Return the answer file of the medium, as Windows finds it: by its Joliet name, in the root."""
    content = base64.b64decode(guest.exec("base64", "/dev/sr0"))
    image, text = pycdlib.PyCdlib(), io.BytesIO()
    image.open_fp(io.BytesIO(content))
    image.get_file_from_iso_fp(text, joliet_path=f"/{ANSWER_FILE}")
    image.close()
    return text.getvalue().decode()


def test_a_guest_reads_its_answer_file_and_loses_it_when_it_has_its_name(
    bench: Bench, lab: LabHost, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    secret.chmod(0o600)
    ref = SecretRef(SecretSource.FILE, str(secret))
    identity = WindowsIdentity("WEB01", "UTC", password=ref, product_key=ref, logs_on=True)
    product = Product(connect(lab.uri(), secrets=lambda: LocalSecrets(None)))
    bench = replace(bench, product=product)
    manifest = replace(bench.manifest(BASE), windows=identity, generation="windows")
    guest = bench.boot(manifest)

    mark = find_mark(product)
    planned = render_answers(identity, BASE.name, 1).files[0][1]
    assert read_medium(guest) == fill_document(planned, lambda _ref: SECRET)
    assert stat.S_IMODE(os.stat(mark.path).st_mode) & 0o077 == 0
    seen = [product.xml(BASE.name), product.live_xml(BASE.name), planned]
    seen += list_commands()
    assert not [text for text in seen if SECRET in text or "w9Kx" in text]

    boot_id = guest.boot_id()
    assert plan(product, manifest).action is ActionKind.NONE
    guest.exec("hostname", "web01")
    [change] = plan(product, manifest).changes
    assert (change.path, change.effect.value) == ("windows", "live")
    assert "Windows is set up" in (change.reason or "")
    apply(product, manifest)
    assert not os.path.exists(mark.path)
    assert drives(product.xml(BASE.name)) == []
    assert guest.media_size() == 0
    assert guest.boot_id() == boot_id, "the guest was restarted"
