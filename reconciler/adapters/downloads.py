"""Fetch files from http, https and file addresses, and unpack them.

Implements `transfers.Downloads`. The only importer of the standard library's HTTP client. Proxies
are those of the environment, and the certificates that are trusted are those of the host. What a
server may do is bounded: how long it may be silent, how slow it may be, how often it may redirect.
How much may be read is for the caller, who sees each chunk.
"""

from __future__ import annotations

import bz2
import gzip
import http.client
import lzma
import os
import socket
import ssl
import stat
import subprocess
import zlib
from contextlib import closing, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, BinaryIO, Callable, Dict, Iterator, Mapping, Optional, Tuple, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    url2pathname,
)

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.transfers import Incoming, Unpacked
from reconciler.errors import MissingError, ReconcilerError, TerminalError, TransientError

CHUNK = 256 * 1024
SILENCE = 30.0  # seconds without a byte
SLOWEST = 1024  # bytes a second, over
SLOW_FOR = 60.0  # seconds
MOST_REDIRECTS = 10
# Answers that may be others at the next try; all others are for a person.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
Tell = Callable[[int], None]
_LOCAL_HOSTS = frozenset({"", "localhost"})


class LimitedRedirects(HTTPRedirectHandler):
    """Follows redirects, 308 as well, which Python 3.9 does not know."""

    max_redirections = MOST_REDIRECTS
    max_repeats = 2
    http_error_308 = HTTPRedirectHandler.http_error_302

    def redirect_request(  # noqa: D102 - the standard library's
        self, req: Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> Optional[Request]:
        known = 307 if code == HTTPStatus.PERMANENT_REDIRECT else code
        return super().redirect_request(
            req,
            fp,  # type: ignore[arg-type]
            known,
            msg,
            headers,  # type: ignore[arg-type]
            newurl,
        )


def _make_opener() -> OpenerDirector:
    """Return what opens addresses; http and https only, also behind a redirect."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        LimitedRedirects(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = []
    return opener


Verify = Callable[[str, bytes, Optional[bytes], str], bytes]
"""Returns what of a content is signed: its source, content, a detached signature, the keys."""
MOST_SIGNED = 2**20  # bytes of a list of checksums; those of distributors have a few kilobytes
SIGNATURES = (".gpg", ".asc", ".sign", ".sig")  # what a detached one beside its file ends in
REMEMBERED = 60.0  # seconds; several machines are made from one list
CLEARSIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


class UrlDownloads:
    """Files by their addresses. `verify` verifies signatures."""

    def __init__(self, verify: Optional[Verify] = None) -> None:
        """Remember nothing yet."""
        self._verify = verify
        self._signed: Dict[Tuple[str, str, Optional[str]], Tuple[float, bytes]] = {}

    def measure(self, url: str) -> Optional[int]:
        """Return the bytes of the file at an address; None if the server does not say.

        The file is asked for and not read: servers that sign addresses refuse any other question.
        """
        with self.open(url) as incoming:
            return incoming.total

    @contextmanager
    def open(self, url: str, offset: int = 0, validator: str = "") -> Iterator[Incoming]:
        """Open the file at an address, from `offset` on if the server can do that."""
        if urlsplit(url).scheme == "file":
            with _open_file(url, offset) as incoming:
                yield incoming
            return
        with closing(_request(url, offset, validator)) as response:
            yield _describe(url, response, offset)

    def read_signed(self, url: str, keyring: str, signature: Optional[str] = None) -> bytes:
        """Return the small file at an address as far as a key of the file `keyring` has signed it.

        What was read and verified is not read again for a minute.
        """
        key, now = (url, keyring, signature), SYSTEM_CLOCK.now()
        at, content = self._signed.get(key, (now - REMEMBERED, b""))
        if now - at >= REMEMBERED:
            content = self._read_signed(url, keyring, signature)
            self._signed[key] = (now, content)
        return content

    def _read_signed(self, url: str, keyring: str, signature: Optional[str]) -> bytes:
        if self._verify is None:
            raise MissingError(f"{url}: signatures cannot be verified from here")
        content = self._read_small(url)
        if signature is not None:
            return self._verify(url, content, self._read_small(signature), keyring)
        if content.lstrip().startswith(CLEARSIGNED):
            return self._verify(url, content, None, keyring)
        for end in SIGNATURES:
            with suppress(MissingError):  # it is not there
                found = self._read_small(f"{url}{end}")
                break
        else:
            ends = ", ".join(SIGNATURES)
            raise MissingError(
                f"{url}: is not signed: there is no signature in it, and none beside it ({ends}); "
                "set spec.image.checksums.signature to the address of its signature"
            )
        return self._verify(url, content, found, keyring)

    def _read_small(self, url: str) -> bytes:
        content = bytearray()
        with self.open(url) as incoming:
            for chunk in incoming.chunks:
                content += chunk
                if len(content) > MOST_SIGNED:
                    raise MissingError(
                        f"{url}: is larger than {MOST_SIGNED // 2**20}MiB, so it is not a list of "
                        "checksums; check spec.image.checksums.url"
                    )
        return bytes(content)

    def unpack(self, path: str, tell: Tell) -> Optional[Unpacked]:
        """Return what a packed file holds, a chunk at a time; None for one that is not packed.

        `tell` is told how many bytes of the file were read. A file is known by its first bytes,
        whatever its name is.
        """
        with open(path, "rb") as file:
            start = file.read(max(map(len, _UNPACKERS)))
        unpack = next((make for magic, make in _UNPACKERS.items() if start.startswith(magic)), None)
        return None if unpack is None else unpack(path, tell)


@contextmanager
def _open_file(url: str, offset: int) -> Iterator[Incoming]:
    parts = urlsplit(url)
    if parts.netloc not in _LOCAL_HOSTS:
        raise TerminalError(f"{url}: a file on another host; write file:///PATH")
    try:
        file = open(url2pathname(parts.path), "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise MissingError(f"{url}: {error.strerror}") from error
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise MissingError(f"{url}: is not a file")
        start = offset if offset <= found.st_size else 0
        file.seek(start)
        yield Incoming(start, found.st_size, _read_file(url, file))


def _read_file(url: str, file: BinaryIO) -> Iterator[bytes]:
    try:
        yield from iter(lambda: file.read(CHUNK), b"")
    except OSError as error:
        raise TransientError(f"{url}: {error.strerror}") from error


def _request(url: str, offset: int, validator: str) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "virt-reconciler"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    if offset and validator:
        headers["If-Range"] = validator
    try:
        opened = _make_opener().open(Request(url, headers=headers), timeout=SILENCE)  # noqa: S310
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return _request(url, 0, "")
        raise _translate(url, error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _translate(url, error) from error
    return cast("http.client.HTTPResponse", opened)


def _describe(url: str, response: http.client.HTTPResponse, offset: int) -> Incoming:
    """Return what a response brings, by its headers."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else ""  # a weak one does not mean the same bytes
    chunks = _read_response(url, response)
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return Incoming(0, _number(response.headers.get("Content-Length")), chunks, validator)
    words, _, total = response.headers.get("Content-Range", "").partition("/")
    if words.strip().split("-")[0] != f"bytes {offset}":
        raise TransientError(f"{url}: the server sends other bytes than those after {offset}")
    return Incoming(offset, _number(total), chunks, validator)


def _number(text: Optional[str]) -> Optional[int]:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _read_response(url: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
    since, got = SYSTEM_CLOCK.now(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _translate(url, error) from error
        if not chunk:
            return
        yield chunk
        got += len(chunk)
        seconds = SYSTEM_CLOCK.now() - since
        if seconds >= SLOW_FOR:
            if got < SLOWEST * seconds:
                raise TransientError(f"{url}: too slow, {got} bytes in {seconds:.0f} seconds")
            since, got = SYSTEM_CLOCK.now(), 0


def _translate(url: str, error: Exception) -> ReconcilerError:
    """Return our error for one of the HTTP client's."""
    if isinstance(error, HTTPError):
        return _translate_answer(url, error)
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLError):
        return MissingError(f"{url}: {_describe_tls(cause)}")
    if isinstance(cause, ValueError):
        return TerminalError(f"{url}: is not a valid address: {cause}")
    if isinstance(cause, (socket.timeout, TimeoutError)):
        words: object = f"no answer in {SILENCE:.0f} seconds"
    elif isinstance(cause, http.client.IncompleteRead):
        words = "the connection was cut"
    else:
        words = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
    return TransientError(f"{url}: {words or type(cause).__name__}")


def _describe_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); if it is right, "
            "add its CA to this host: copy it to /etc/pki/ca-trust/source/anchors, then run "
            "update-ca-trust"
        )
    return f"no TLS connection: {error.reason or error}"


def _translate_answer(url: str, error: HTTPError) -> ReconcilerError:
    if HTTPStatus.MULTIPLE_CHOICES <= error.code < HTTPStatus.BAD_REQUEST:
        return MissingError(
            f"{url}: the server redirects in a circle, more than {MOST_REDIRECTS} times, or to "
            "what is neither http nor https"
        )
    kind = TransientError if error.code in _PASSING else MissingError
    words = str(error.reason).strip()
    return kind(f"{url}: the server answers {error.code}" + (f" ({words})" if words else ""))


def _follow(output: BinaryIO, packed: BinaryIO, tell: Tell) -> Iterator[bytes]:
    """Yield what is unpacked, never more than a chunk at once; tell how much of the file was."""
    for chunk in iter(lambda: output.read(CHUNK), b""):
        yield chunk
        tell(os.lseek(packed.fileno(), 0, os.SEEK_CUR))


def _unpack_with(open_file: Callable[..., Any], path: str, tell: Tell) -> Unpacked:
    """Unpack by a reader of the standard library."""
    try:
        with open(path, "rb") as packed, open_file(packed) as output:
            yield from _follow(output, packed, tell)
    except (lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise TerminalError(f"it cannot be unpacked: {error}") from error


def _unpack_zst(path: str, tell: Tell) -> Unpacked:
    """Unpack by the program `zstd`; Python 3.9 has no reader of its own."""
    with open(path, "rb", buffering=0) as packed:
        try:
            process = subprocess.Popen(
                ("zstd", "--decompress", "--stdout", "--quiet"),
                stdin=packed,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise MissingError(
                "the program zstd is needed to unpack it and not installed: dnf install zstd, "
                "apt install zstd"
            ) from error
        try:
            yield from _follow(cast("BinaryIO", process.stdout), cast("BinaryIO", packed), tell)
            _, complaint = process.communicate()
            if process.returncode:
                words = " ".join(complaint.decode(errors="replace").split())
                raise TerminalError(f"it cannot be unpacked: {words}")
        finally:
            with suppress(OSError):
                process.kill()
            process.communicate()


_UNPACKERS: Mapping[bytes, Callable[[str, Tell], Unpacked]] = {
    b"\xfd7zXZ\0": partial(_unpack_with, lzma.open),
    b"\x1f\x8b\x08": partial(_unpack_with, gzip.open),
    b"BZh": partial(_unpack_with, bz2.open),
    b"\x28\xb5\x2f\xfd": _unpack_zst,
}
