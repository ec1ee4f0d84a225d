"""Images by address on a real host: fetched, verified, whole or not there, and kept for clones."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import signal
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.downloads import UrlDownloads
from reconciler.adapters.libvirt.host import connect
from reconciler.core.conditions import READY, RECONCILING, STALLED
from reconciler.core.key import Key
from reconciler.core.machine import CloneMode, Cpus, Disk, Machine, Memory, Power
from reconciler.core.manifest import Place, TemplateManifest
from reconciler.core.plan import ActionKind, Outcome
from reconciler.kinds.template.row import build_template
from tests.execution import execute
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.real.commands import WEB, Command
from tests.real.images import fill_file_system, holds_pattern, run, write_pattern
from tests.real.looping import Looping, libvirtd
from tests.real.worlds import Product, Silent, manifest_of
from tests.unit.adapters.test_downloads import pack_zst
from tests.unit.adapters.test_signatures import Signer
from tests.unit.adapters.web_server import Files, Handler, serve

CHECKOUT = Path(__file__).parents[2]
MIB = 2**20
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "nothing": bytes,
    "xz": lambda content: lzma.compress(content, preset=0),
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": pack_zst,
}


def make_image(folder: Path, pattern: int = 1) -> bytes:
    """Return a qcow2 of 8 MiB, a quarter of it written, so that it comes in several chunks."""
    path = folder / "made.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, 8 * MIB)
    write_pattern(path, pattern)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 2M", path)
    return path.read_bytes()


def digest(content: bytes) -> str:
    """Return what `sha256sum` prints."""
    return hashlib.sha256(content).hexdigest()


def template(url: str, sha256: str, **image: Any) -> TemplateManifest:
    """Return a template whose image has that address."""
    spec = {"image": {"url": url, "sha256": sha256, **image}, "linkedClones": True}
    data = {"metadata": {"name": "base"}, "spec": spec}
    return build_template(data, Place("base.yaml", 1, 1))


def machine(name: str, clone: Optional[CloneMode] = CloneMode.FULL) -> Machine:
    """Return a machine that does not run, with a clone of the template."""
    root = Disk("root", "virtio", template="base", clone=clone)
    return Machine(
        name,
        cpus=Cpus(1),
        memory=Memory(64 * MIB),
        disks=(root,),
        interfaces=(),
        power=Power.STOPPED,
    )


@dataclass
class Yard:
    """A host, a web server, and the image that is served."""

    product: Product
    web: Files
    lab: LabHost
    image: bytes

    def serve(self, content: bytes, path: str = "/image", **image: Any) -> TemplateManifest:
        """Serve a file, and have the template point to it."""
        self.web.content[path] = content
        return self.point(f"{self.web.url}{path}", digest(content), **image)

    def point(self, url: str, sha256: str, **image: Any) -> TemplateManifest:
        """Have the template point to an address."""
        found = template(url, sha256, **image)
        self.product = replace(self.product, templates=(found,))
        return found

    def apply(self, *machines: Machine) -> List[Outcome]:
        """Apply machines, after what they need."""
        return list(self.product.apply(*map(manifest_of, machines or (machine("a"),))))

    def fail(self, *machines: Machine) -> str:
        """Apply, and return why the template's image could not be fetched; nothing is left of it."""
        outcomes = {outcome.name: outcome for outcome in self.apply(*machines)}
        error = outcomes["base"].error
        assert error is not None
        assert "not begun: base" in str(outcomes["a"].error)
        return error

    def succeed(self, *machines: Machine) -> None:
        """Apply, without a failure, to an empty plan."""
        for outcome in self.apply(*machines):
            assert outcome.error is None, outcome.error
        wanted = machines or (machine("a"),)
        assert self.product.plan(*map(manifest_of, wanted)).is_empty

    @property
    def names(self) -> List[str]:
        """Return what is in the pool's folder."""
        return sorted(path.name for path in self.lab.images.iterdir())

    def find(self, found: TemplateManifest) -> Path:
        """Return the path of a template's image."""
        return self.lab.images / (found.volume or "")


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Signer]:
    """Return a publisher who signs."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    found = Signer(keys)
    yield found
    found.stop()


@pytest.fixture
def yard(
    product: Product, lab: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Yard]:
    """Return the host without anything on it, reached with what fetches files."""
    monkeypatch.setenv("no_proxy", "*")
    host = connect(lab.uri(), downloads=UrlDownloads)
    with serve() as web:
        yield Yard(replace(product, host=host), web, lab, make_image(tmp_path))
    product.clear()
    for path in lab.images.iterdir():
        path.unlink()
    lab.virsh("pool-refresh", "default")


@pytest.mark.parametrize("packing", PACKERS)
def test_image_is_fetched_verified_and_cloned(yard: Yard, packing: str) -> None:
    found = yard.serve(PACKERS[packing](yard.image))
    plan = yard.product.plan(manifest_of(machine("a")))
    actions = {action.name: action for action in plan.actions}
    assert actions["base"].action is ActionKind.CREATE
    assert yard.web.url in str(actions["base"].changes[0].desired)
    yard.succeed()
    assert yard.find(found).read_bytes() == yard.image
    assert holds_pattern(yard.lab.images / "a-root.qcow2", 1)
    assert yard.names == sorted(["a-root.qcow2", str(found.volume)])


def test_image_that_no_machine_needs_is_not_fetched(yard: Yard) -> None:
    yard.serve(yard.image)
    assert yard.product.plan().is_empty
    assert yard.web.asked == []


def test_image_is_fetched_once_for_several_machines(yard: Yard) -> None:
    yard.serve(yard.image)
    yard.succeed(machine("a"), machine("b"), machine("c"))
    yard.succeed(*map(machine, "abcd"))
    assert yard.web.asked == [("/image", 0)] * 2  # measured by the plan, and fetched


def test_plan_says_how_much_would_be_fetched(yard: Yard) -> None:
    yard.serve(yard.image)
    plan = yard.product.plan(manifest_of(machine("a")))
    [change] = next(action for action in plan.actions if action.name == "base").changes
    assert f"{len(yard.image) / MIB:.1f}MiB" in str(change.desired)


def test_raw_image(yard: Yard) -> None:
    content = bytes(range(256)) * 8192
    found = yard.serve(content, format="raw")
    yard.succeed()
    assert str(found.volume).endswith(".raw")
    assert yard.find(found).read_bytes() == content


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "packed"])
def test_zeros_of_a_raw_image_take_no_room_on_disk(yard: Yard, is_packed: bool) -> None:
    data = bytes(range(256)) * 4096
    content = bytes(MIB) + data + bytes(64 * MIB) + data[:1000] + bytes(16 * MIB + 7)
    served = lzma.compress(content, preset=0) if is_packed else content
    path = yard.find(yard.serve(served, format="raw"))
    yard.succeed()
    assert path.read_bytes() == content
    assert path.stat().st_blocks * 512 < 4 * MIB


def test_file_address(yard: Yard, tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    path.write_bytes(yard.image)
    found = yard.point(path.as_uri(), digest(yard.image))
    yard.succeed()
    assert yard.find(found).read_bytes() == yard.image


def test_redirect_is_followed_and_a_circle_is_not(yard: Yard) -> None:
    yard.serve(yard.image)
    yard.web.redirects.update({"/latest": "/image", "/one": "/two", "/two": "/one"})
    yard.point(f"{yard.web.url}/one", digest(yard.image))
    assert "redirects in a circle" in yard.fail()
    yard.point(f"{yard.web.url}/latest", digest(yard.image))
    yard.succeed()


def test_cut_line_is_resumed_where_it_was_cut(yard: Yard) -> None:
    yard.serve(yard.image)
    yard.web.cut["/image"] = [10, 700_000, 300_000]  # the first is only measured
    outcomes = yard.apply()
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [start for _, start in yard.web.asked] == [0, 0, 700_000, 1_000_000]
    assert yard.web.sent == len(yard.image) + 10


def test_server_that_is_away_is_told_and_the_rest_comes_later(yard: Yard) -> None:
    found = yard.serve(yard.image)
    content = yard.web.content.pop("/image")

    def cut(handler: Handler) -> None:
        if len(yard.web.asked) > 1:  # the first is only measured
            del yard.web.answers["/image"]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.send(content[:700_000])

    yard.web.answers["/image"] = cut
    assert "answers 404" in yard.fail()
    assert not yard.find(found).exists()
    yard.web.content["/image"] = content
    yard.succeed()
    assert ("/image", 700_000) in yard.web.asked
    assert yard.find(found).read_bytes() == yard.image


def test_what_an_earlier_run_left_is_not_trusted(yard: Yard) -> None:
    found = yard.serve(yard.image)
    part = yard.lab.images / f"{found.volume}.download"
    part.write_bytes(b"x" * 1000)
    yard.succeed()
    assert yard.find(found).read_bytes() == yard.image
    assert not part.exists()


def test_wrong_checksum_is_terminal_with_both(yard: Yard) -> None:
    yard.serve(yard.image)
    found = yard.point(f"{yard.web.url}/image", "0" * 64)
    error = yard.fail()
    assert digest(yard.image) in error
    assert "0" * 64 in error
    assert yard.names == []
    assert not yard.find(found).exists()


def test_address_whose_content_changed_is_refused(yard: Yard, tmp_path: Path) -> None:
    yard.serve(yard.image)
    yard.web.content["/image"] = make_image(tmp_path, 2)
    assert "wrong checksum" in yard.fail()
    assert yard.names == []


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_bomb_is_refused_before_it_fills_the_pool(
    yard: Yard, image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.kinds.template.execute.find_room", lambda _free: 16 * MIB)
    start = yard.image[:MIB] if image_format == "qcow2" else b""
    bomb = lzma.compress(start + bytes(96 * MIB), preset=0)
    yard.serve(bomb, format=image_format)
    assert "unpacks to more than" in yard.fail()
    assert yard.names == []


def test_file_that_is_announced_larger_than_the_pool(yard: Yard) -> None:
    def announce(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(100_000 * 2**30))
        handler.end_headers()
        handler.send(b"x")

    yard.web.answers["/image"] = announce
    yard.point(f"{yard.web.url}/image", "0" * 64)
    [base] = [
        action
        for action in yard.product.plan(manifest_of(machine("a"))).actions
        if action.name == "base"
    ]
    assert base.action is ActionKind.FAILED
    assert "97.7TiB" in base.reason


def test_file_that_never_ends(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.kinds.template.execute.MOST_UNANNOUNCED", 4 * MIB)

    def pour(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.send(bytes(65536))

    yard.web.answers["/image"] = pour
    yard.point(f"{yard.web.url}/image", "0" * 64)
    assert "there is no end after 4.0MiB" in yard.fail()
    assert yard.names == []


def test_image_that_is_none_of_that_format(yard: Yard) -> None:
    yard.serve(bytes(MIB))
    assert "set spec.image.format: raw" in yard.fail()
    yard.serve(yard.image, format="raw")
    assert "set spec.image.format: qcow2" in yard.fail()
    assert yard.names == []


def test_image_over_another_is_refused(yard: Yard, tmp_path: Path) -> None:
    path = tmp_path / "over.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", path, MIB)
    yard.serve(path.read_bytes())
    assert "lies over another image" in yard.fail()
    assert yard.names == []


def test_new_checksum_makes_an_image_beside_the_one_of_linked_clones(
    yard: Yard, tmp_path: Path
) -> None:
    old, linked = yard.serve(yard.image), machine("a", CloneMode.LINKED)
    yard.succeed(linked)
    new = yard.serve(make_image(tmp_path, 2))
    assert new.volume != old.volume
    yard.succeed(linked, machine("b", CloneMode.LINKED))
    assert yard.find(old).exists()
    assert holds_pattern(yard.lab.images / "a-root.qcow2", 1)
    assert holds_pattern(yard.lab.images / "b-root.qcow2", 2)


@pytest.fixture
def nearly_full(yard: Yard) -> Iterator[Yard]:
    """Return the host with a pool `xfs` that has one MiB left."""
    folder = yard.lab.folder / "xfs"
    filler = fill_file_system(folder, left=MIB)
    yield yard
    filler.unlink()
    for path in folder.iterdir():
        path.unlink()


def test_pool_without_room_is_said_so_before_anything_is_fetched(nearly_full: Yard) -> None:
    nearly_full.serve(nearly_full.image, pool="xfs")
    [base] = [
        action
        for action in nearly_full.product.plan(manifest_of(machine("a"))).actions
        if action.name == "base"
    ]
    assert base.action is ActionKind.FAILED
    assert base.transient
    assert "storage pool 'xfs' has" in base.reason


def test_pool_that_becomes_full_is_clean_afterwards(
    nearly_full: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = nearly_full
    monkeypatch.setattr("reconciler.kinds.template.execute.find_room", lambda _free: 16 * MIB)
    yard.serve(lzma.compress(yard.image), pool="xfs")
    outcomes = {outcome.name: outcome for outcome in yard.apply()}
    error = outcomes["base"].error
    assert "storage pool xfs is full" in str(error)
    # Also while the error is kept: a deleted file that is open would keep its room.
    assert [path for path in list_opened() if "base-" in path] == []
    assert sorted(path.name for path in (yard.lab.folder / "xfs").iterdir()) == ["filler"]


def list_opened() -> List[str]:
    """Return the files that this process has open; other threads open and close some meanwhile."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return found


def test_killed_libvirtd_leaves_no_partial_image(
    own_host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    image = make_image(tmp_path)
    product = Product(connect(own_host.uri(), downloads=UrlDownloads))
    with serve() as web:
        yard = Yard(product, web, own_host, image)
        found = yard.serve(image)

        def kill_midway(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(image)))
            handler.end_headers()
            handler.send(image[:MIB])
            os.kill(libvirtd(own_host), signal.SIGKILL)
            del web.answers["/image"]
            handler.send(image[MIB:])

        measured = yard.product.plan(manifest_of(machine("a")))
        web.answers["/image"] = kill_midway
        desired = yard.product.desired([manifest_of(machine("a"))])
        execute(yard.product.host, desired, measured, Silent(), SystemClock())
        own_host.wait_until_it_answers()
        assert not yard.find(found).exists() or yard.find(found).read_bytes() == image
        yard.succeed()
        assert yard.find(found).read_bytes() == image
        yard.product.clear()


def test_certificate_of_an_unknown_authority_is_refused(yard: Yard, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(context) as web:
        web.content["/image"] = yard.image
        yard.point(f"{web.url}/image", digest(yard.image))
        assert "certificate is not trusted" in yard.fail()
        assert yard.names == []


@pytest.fixture
def command(yard: Yard, tmp_path: Path) -> Command:
    """Return the command on that host, with a manifest of the template in a folder `m`."""
    (tmp_path / "m").mkdir()
    return Command(yard.lab.uri(), tmp_path)


def write_template(command: Command, found: TemplateManifest) -> None:
    """Write the manifest of a template."""
    assert found.address is not None
    command.write(
        "m/base.yaml",
        "apiVersion: virt-reconciler/v1\nkind: Template\nmetadata: {name: base}\nspec:\n"
        f"  image: {{url: '{found.address.url}', sha256: '{found.address.sha256}'}}\n",
    )


def test_pull_fetches_what_no_machine_needs_yet(yard: Yard, command: Command) -> None:
    found = yard.serve(yard.image)
    write_template(command, found)
    assert "Plan: 0 to create" in command("plan", "m").stdout
    pulled = command("template", "pull", "base", "m")
    assert "1 created" in pulled.stdout
    assert yard.find(found).read_bytes() == yard.image
    assert "is there already" in command("template", "pull", "base", "m").stdout
    assert "no Template 'bose'" in command("template", "pull", "bose", "m", status=1).stderr


@pytest.mark.parametrize("with_right", [False, True], ids=["without", "with"])
def test_the_rights_of_the_example_for_the_daemon_are_enough_and_needed(
    yard: Yard, command: Command, with_right: bool
) -> None:
    found = yard.serve(yard.image)
    write_template(command, found)
    lines = (CHECKOUT / "packaging/systemd/images.conf").read_text(encoding="utf-8").splitlines()
    [right] = [line.partition("=")[2] for line in lines if line.startswith("AmbientCapabilities=")]
    assert right == "CAP_DAC_OVERRIDE"
    state = command.folder / "nobody"
    state.mkdir()
    os.chown(state, 65534, 65534)
    rights = "dac_override" if with_right else "dac_read_search"  # to reach Python at all
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set",
         f"-all,+{rights}", "--inh-caps", f"+{rights}", "--ambient-caps", f"+{rights}",
         sys.executable, "-m", "reconciler", "--connect", command.uri, "template", "pull", "base", "m"],
        cwd=command.folder, env={**command.environment, "HOME": str(state)}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    if with_right:
        assert (done.returncode, "1 created" in done.stdout) == (0, True), done.stderr
        assert yard.find(found).read_bytes() == yard.image
    else:
        assert done.returncode == 1
        assert "cannot write to its folder" in done.stderr
        assert "images.conf" in done.stderr


def test_signed_list_decides_which_image_new_machines_are_cloned_from(
    yard: Yard, command: Command, signer: Signer, tmp_path: Path
) -> None:
    newer, public = make_image(tmp_path, pattern=9), signer.make("publisher")

    def publish(image: bytes) -> TemplateManifest:
        yard.web.content["/latest/image"] = image
        listed = f"{digest(b'')}  other\n{digest(image)} *image\n".encode()
        yard.web.content["/latest/SHA256SUMS"] = listed
        yard.web.content["/latest/SHA256SUMS.gpg"] = signer.sign(
            "publisher", listed, "--detach-sign"
        )
        return template("", digest(image))

    command.write(
        "m/base.yaml",
        "apiVersion: virt-reconciler/v1\nkind: Template\nmetadata: {name: base}\nspec:\n"
        f"  image:\n    url: '{yard.web.url}/latest/image'\n    checksums:\n"
        f"      url: '{yard.web.url}/latest/SHA256SUMS'\n      signedBy: {public}\n",
    )
    clone = "{name: data, source: {template: base, clone: full}}"
    one = WEB.replace("{name: data, size: 8MiB}", clone)
    command.write("m/web01.yaml", one)
    old = publish(yard.image)
    command("apply", "m", "--yes")
    assert yard.find(old).read_bytes() == yard.image
    asked = len(yard.web.asked)
    assert "Plan: 0 to create" in command("plan", "m").stdout
    assert len(yard.web.asked) == asked  # what is there needs no list
    new = publish(newer)
    assert "Plan: 0 to create" in command("plan", "m").stdout
    command.write("m/web02.yaml", one.replace("web01", "web02"))
    shown = command("plan", "m").stdout
    assert f"as default/{new.volume}" in shown
    assert f"names another image than default/{old.volume}" in shown
    yard.web.content["/latest/SHA256SUMS"] += b"\n"
    refused = command("plan", "m", status=1).stdout
    assert "was changed after it was signed" in refused
    assert "Plan: 0 to create" in refused
    publish(newer)
    command("apply", "m", "--yes")
    assert yard.find(new).read_bytes() == newer
    assert yard.find(old).read_bytes() == yard.image
    assert "Plan: 0 to create" in command("plan", "m").stdout
    assert str(old.volume) in command("prune", "--images", "m", "--yes").stdout
    assert not yard.find(old).exists()
    assert yard.find(new).exists()


def test_prune_deletes_images_that_nobody_names_or_uses(
    yard: Yard, command: Command, tmp_path: Path
) -> None:
    used = yard.serve(yard.image)
    yard.succeed(machine("a", CloneMode.LINKED))
    spare = yard.serve(make_image(tmp_path, 2))
    write_template(command, spare)
    command("template", "pull", "base", "m")
    current = yard.serve(make_image(tmp_path, 3))
    write_template(command, current)
    command("template", "pull", "base", "m")
    foreign = yard.lab.images / "mine-0123456789ab.qcow2"
    foreign.write_bytes(yard.image)

    asked = command("prune", "--images", "m", status=64)
    assert "kept: used by domain a" in asked.stdout
    assert "nothing was deleted" in asked.stderr
    assert yard.find(spare).exists()
    assert "Deleted: 1 image." in command("prune", "--images", "m", "--yes").stdout
    assert not yard.find(spare).exists()
    assert yard.find(used).exists()
    assert yard.find(current).exists()
    assert foreign.exists()


BASE = Key("Template", "base")


@pytest.fixture
def fetching(own_host: LabHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looping]:
    """Return a loop that may fetch, on an empty host."""
    monkeypatch.setenv("no_proxy", "*")
    looping = Looping(own_host, downloads=UrlDownloads()).start()
    yield looping
    looping.stop()
    for name in own_host.virsh("list", "--all", "--name").stdout.split():
        own_host.virsh("undefine", name)
    for path in own_host.images.iterdir():
        path.unlink()
    own_host.virsh("pool-refresh", "default")


def find_reason(looping: Looping, key: Key, condition: str) -> str:
    """Return why a condition of an object holds; empty if it does not."""
    found = looping.loop.shared.ledger.get(key).condition(condition)
    return str(found.reason) if found.holds else ""


def test_daemon_fetches_what_a_machine_needs_and_shows_how_far_it_is(
    fetching: Looping, tmp_path: Path
) -> None:
    image, halfway, may_go_on = make_image(tmp_path), threading.Event(), threading.Event()

    def pause(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image)))
        handler.end_headers()
        handler.send(image[:MIB])
        halfway.set()
        may_go_on.wait(60)
        handler.send(image[MIB:])

    with serve() as web:
        web.answers["/image"] = pause
        found = template(f"{web.url}/image", digest(image))
        fetching.publish(manifest_of(machine("a")), templates=(found,))
        fetching.wait(halfway.is_set, "half of it has come")
        fetching.wait(lambda: "fetching" in find_reason(fetching, BASE, RECONCILING), "it is shown")
        waits = "waits for template base"
        fetching.wait(lambda: waits in find_reason(fetching, vm("a"), RECONCILING), waits)
        assert not (fetching.lab.images / str(found.volume)).exists()
        may_go_on.set()
        fetching.wait_ready("a")
        fetching.wait_quiet()
        assert len(web.asked) == 1
    assert (fetching.lab.images / str(found.volume)).read_bytes() == image
    record = fetching.loop.shared.ledger.get(BASE)
    assert (record.state, record.condition(READY).holds) == ("present", True)


def test_daemon_does_not_try_a_wrong_checksum_again(fetching: Looping, tmp_path: Path) -> None:
    with serve() as web:
        web.content["/image"] = make_image(tmp_path)
        wanted = manifest_of(machine("a"))
        fetching.publish(wanted, templates=(template(f"{web.url}/image", "0" * 64),))
        fetching.wait(lambda: "wrong checksum" in find_reason(fetching, BASE, STALLED), "stalled")
        asked = len(web.asked)
        fetching.loop.resync()
        fetching.loop.look_at([BASE])
        assert len(web.asked) == asked
        right = template(f"{web.url}/image", digest(web.content["/image"]))
        fetching.publish(wanted, templates=(right,))
        fetching.wait_ready("a")


def test_plan_file_fetches_what_it_says(yard: Yard, command: Command) -> None:
    found = yard.serve(yard.image)
    write_template(command, found)
    command.write(
        "m/web01.yaml",
        WEB.replace(
            "{name: data, size: 8MiB}", "{name: data, source: {template: base, clone: full}}"
        ),
    )
    shown = command("plan", "m", "--out", "plan.json").stdout
    assert f"fetched from {yard.web.url}/image (2.4MiB) as default/{found.volume}" in shown
    assert "Plan: 2 to create" in shown
    assert yard.names == []
    command("apply", "plan.json", "--yes")
    assert yard.find(found).read_bytes() == yard.image
    assert "Plan: 0 to create" in command("plan", "m").stdout
