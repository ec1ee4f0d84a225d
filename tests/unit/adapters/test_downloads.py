"""Downloads: what comes from an address, and what a server may not do."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Callable, Iterator, List, Mapping

import pytest

from reconciler.adapters import downloads
from reconciler.adapters.downloads import UrlDownloads
from reconciler.errors import MissingError, TerminalError, TransientError
from tests.unit.adapters.web_server import Files, Handler, serve

CONTENT = bytes(range(256)) * 4096  # one MiB


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Return a server with one file, reached without any proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as files:
        files.content["/image"] = CONTENT
        yield files


def fetch(url: str, offset: int = 0, validator: str = "") -> bytes:
    """Return all that comes."""
    with UrlDownloads().open(url, offset, validator) as incoming:
        return b"".join(incoming.chunks)


def complain(url: str) -> MissingError:
    """Return why nothing comes, where trying again at once does not help."""
    with pytest.raises(MissingError) as caught:
        fetch(url)
    return caught.value


def test_file_comes_whole_with_its_length_and_version(web: Files) -> None:
    with UrlDownloads().open(f"{web.url}/image") as incoming:
        assert (incoming.offset, incoming.total) == (0, len(CONTENT))
        assert incoming.validator == '"one"'
        assert b"".join(incoming.chunks) == CONTENT


def test_measuring_does_not_read_the_file(web: Files) -> None:
    web.content["/image"] = bytes(64 * 2**20)
    assert UrlDownloads().measure(f"{web.url}/image") == 64 * 2**20
    assert web.asked == [("/image", 0)]


def test_rest_of_a_file_is_asked_for(web: Files) -> None:
    with UrlDownloads().open(f"{web.url}/image", 1000, '"one"') as incoming:
        assert (incoming.offset, incoming.total) == (1000, len(CONTENT))
        assert b"".join(incoming.chunks) == CONTENT[1000:]


def test_server_that_cannot_resume_begins_anew(web: Files) -> None:
    web.resumes = False
    with UrlDownloads().open(f"{web.url}/image", 1000) as incoming:
        assert incoming.offset == 0
        assert b"".join(incoming.chunks) == CONTENT


def test_more_than_there_is_begins_anew(web: Files) -> None:
    with UrlDownloads().open(f"{web.url}/image", len(CONTENT) + 5) as incoming:
        assert incoming.offset == 0
        assert b"".join(incoming.chunks) == CONTENT


def test_cut_connection_brings_less_than_announced(web: Files) -> None:
    web.cut["/image"] = [5000]
    with UrlDownloads().open(f"{web.url}/image") as incoming:
        assert incoming.total == len(CONTENT)
        assert len(b"".join(incoming.chunks)) == 5000


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_followed(web: Files, code: int) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Location", "/image")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    web.answers["/latest"] = redirect
    assert fetch(f"{web.url}/latest", 1000) == CONTENT[1000:]


def test_redirects_in_a_circle_end(web: Files) -> None:
    web.redirects.update({"/one": "/two", "/two": "/one"})
    assert "redirects in a circle" in str(complain(f"{web.url}/one"))
    assert len(web.asked) <= downloads.MOST_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirect_to_another_scheme_is_refused(web: Files, target: str) -> None:
    web.redirects["/one"] = target
    complain(f"{web.url}/one")


def test_answer_for_a_person_and_one_that_passes(web: Files) -> None:
    assert "answers 404" in str(complain(f"{web.url}/nothing"))
    web.answers["/busy"] = lambda handler: handler.send_error(503)
    with pytest.raises(TransientError, match="answers 503") as caught:
        fetch(f"{web.url}/busy")
    assert not isinstance(caught.value, MissingError)


def test_silent_server_is_left(web: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def begin(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.send(b"x")
        over.wait(20)

    monkeypatch.setattr(downloads, "SILENCE", 0.2)
    web.answers["/slow"] = begin
    with pytest.raises(TransientError, match="no answer in"):
        fetch(f"{web.url}/slow")
    over.set()


def test_server_that_trickles_is_left(web: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not over.wait(0.02):
            handler.send(b"x")

    monkeypatch.setattr(downloads, "SLOW_FOR", 0.3)
    web.answers["/slow"] = trickle
    with pytest.raises(TransientError, match="too slow"):
        fetch(f"{web.url}/slow")
    over.set()


def test_nobody_there(web: Files) -> None:
    url = web.url
    with pytest.raises(TransientError, match="Connection refused"):
        fetch(url.rsplit(":", 1)[0] + ":1/image")


def test_file_address(tmp_path: Path) -> None:
    path = tmp_path / "an image"
    path.write_bytes(CONTENT)
    assert fetch(path.as_uri()) == CONTENT
    assert fetch(path.as_uri(), 1000) == CONTENT[1000:]
    assert UrlDownloads().measure(path.as_uri()) == len(CONTENT)


def test_file_address_of_nothing_or_elsewhere(tmp_path: Path) -> None:
    assert "No such file" in str(complain((tmp_path / "nothing").as_uri()))
    assert "is not a file" in str(complain("file:///dev/null"))
    with pytest.raises(TerminalError, match="another host"):
        fetch("file://elsewhere/image")


def ignore(_done: int) -> None:
    """Take no note of how far it is."""


def pack_zst(content: bytes) -> bytes:
    """Pack by the program."""
    return subprocess.run(
        ["zstd", "-q", "-c"],
        input=content, check=True, capture_output=True,
    ).stdout  # fmt: skip


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "xz": lzma.compress,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": pack_zst,
}


@pytest.fixture(params=PACKERS)
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a packed file; its name does not say so."""
    if request.param == "zst" and shutil.which("zstd") is None:
        pytest.fail("zstd is not installed: apt install zstd")
    path = tmp_path / "image"
    path.write_bytes(PACKERS[request.param](CONTENT))
    return path


def test_packed_file_is_unpacked(packed: Path) -> None:
    chunks = UrlDownloads().unpack(str(packed), ignore)
    assert chunks is not None
    assert b"".join(chunks) == CONTENT


def test_how_much_of_a_packed_file_was_read_is_told(packed: Path) -> None:
    told: List[int] = []
    for _ in UrlDownloads().unpack(str(packed), told.append) or ():
        pass
    assert told == sorted(told)
    assert told[-1] == packed.stat().st_size


def test_packed_file_that_is_cut_off_is_refused(packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-20])
    chunks = UrlDownloads().unpack(str(packed), ignore)
    assert chunks is not None
    with pytest.raises(TerminalError, match="cannot be unpacked"):
        list(chunks)


def test_bomb_is_unpacked_a_chunk_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(lzma.compress(bytes(64 * 2**20), preset=0))
    chunks = UrlDownloads().unpack(str(path), ignore)
    assert chunks is not None
    assert len(next(chunks)) <= downloads.CHUNK


def test_what_is_not_packed(tmp_path: Path) -> None:
    path = tmp_path / "image.xz"
    path.write_bytes(b"QFI\xfb")
    assert UrlDownloads().unpack(str(path), ignore) is None


def test_missing_zstd_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setenv("PATH", str(tmp_path))
    chunks = UrlDownloads().unpack(str(path), ignore)
    assert chunks is not None
    with pytest.raises(MissingError, match="dnf install zstd"):
        list(chunks)
