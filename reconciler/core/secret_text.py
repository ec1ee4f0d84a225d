"""Secrets in running text, and which names say that a value is one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Callable, List, Match, Pattern, Set, Tuple

# Judged by its last word: `hashed_passwd`, `adminPassword`; `passwdValidTo` is none.
_WORDS = frozenset(
    {
        "passwd", "password", "passphrase", "passcode", "pwd", "chpasswd", "secret", "token", "psk",
        "credential", "credentials", "apikey", "authkey", "privatekey", "adminpass", "userpass",
        "rootpw", "authorization",
    }
)  # fmt: skip
# By its last two; `rsa_private` and its like are the host keys of cloud-init's `ssh_keys`.
_PAIRS = frozenset(
    {
        "api key", "private key", "auth key", "access key", "secret key", "activation key",
        "registration key", "validation key", "preshared key", "product key", "encryption key",
        "rsa private", "dsa private", "ecdsa private", "ed25519 private", "admin pass",
        "user pass", "root pw",
    }
)  # fmt: skip
# Whether a password may be used at all, and what names a secret that is kept elsewhere.
_HARMLESS = frozenset({"lock passwd", "password secret", "key secret", "passphrase secret"})
_JUDGED = 128  # characters at the end of a name: its last words are there
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN = re.compile(r"[^a-z0-9]+")


def is_secret_name(name: str) -> bool:
    """Whether the value of a key, attribute, element or variable of this name is a secret."""
    return _is_secret(name[-_JUDGED:])


@lru_cache(maxsize=4096)  # a host's definitions have the same few hundred names, again and again
def _is_secret(name: str) -> bool:
    words = [word for word in _BETWEEN.split(_CAMEL.sub("_", name).lower()) if word]
    pair = " ".join(words[-2:])
    if pair in _HARMLESS:
        return False
    return bool(words) and (words[-1] in _WORDS or pair in _PAIRS)


HIDDEN = "(hidden)"
OTHER = "(hidden, other)"

# Given a secret, what is shown for it.
Mask = Callable[[str], str]


def hide(raw: str) -> str:
    """Return what stands for any secret; what is hidden already stays as it is."""
    return raw if raw in (HIDDEN, OTHER) else HIDDEN


def hide_other(raw: str) -> str:
    """Return what stands for a secret that is known to be another one."""
    return raw if raw == HIDDEN else OTHER


def remember(seen: Set[str]) -> Mask:
    """Return a mask that keeps what it hid."""

    def mask(raw: str) -> str:
        seen.add(raw)
        return hide(raw)

    return mask


def compare_with(seen: Set[str]) -> Mask:
    """Return a mask that tells secrets that are not among those seen; if any were."""

    def mask(raw: str) -> str:
        return hide_other(raw) if seen and raw not in seen else hide(raw)

    return mask


# What hides the secrets of a text.
Hide = Callable[[str, Mask], str]

_QUOTED = r"""\(hidden(?:,\ other)?\)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
# QEMU writes a comma inside a value twice.
_VALUE = rf"(?P<secret>{_QUOTED}|(?:[^\s,]|,,)+)"
_REST = r"(?P<secret>[^\n]+)"
# Not from within a word: each word is looked at once, however long it is.
_KEY = r"(?<![\w.-])(?P<key>[\w.-]{1,64})"


def _row(pattern: str) -> Pattern[str]:
    return re.compile(pattern, re.VERBOSE | re.DOTALL)


_TABLE: Tuple[Pattern[str], ...] = (
    _row(r"-----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----(?P<secret>.*?)(?:-----END|\Z)"),
    # crypt(5): a hash is what an attacker needs to try passwords
    _row(r"(?P<secret>\$(?:1|2[abxy]?|5|6|7|y|gy)\$[./A-Za-z0-9$=,]{8,})"),
    # up to the last @ of the host's part: a password may have one itself
    _row(r"\bhttps?://(?P<secret>[^/\s'\"<>]+)@"),
    _row(r"://[^/\s:@'\"<>]*:(?P<secret>[^/\s'\"<>]+)@"),
    # smbios-type-11(7): what systemd takes from an OEM string
    _row(rf"io\.systemd\.credential(?:\.binary)?:[^=\s]{{1,256}}={_REST}"),
    # qemu(1): -fw_cfg (whose names have 55 characters at most), and the key of a Ceph image
    _row(rf"\bname=opt/[^,\s]{{0,256}},string={_REST}"),
    _row(r"(?<=:key=)(?P<secret>[^:\s,'\"]+)"),
    _row(
        rf"(?P<quote>[\"'])(?P<key>[\w.-]{{1,64}})(?P=quote)\s*:\s*(?P<secret>{_QUOTED}|[^\s,}}\]]+)"
    ),
)
# qemu(1): -fw_cfg with its value first. The tail is the end of what may be a value. An argument has
# no space; the value of -smbios type=11 is the rest of the line, that of -object secret its `data`.
_UP_TO_NAME = _row(r"(?P<body>(?:[^,\n]|,,)+)(?P<tail>,name=opt/)?")
_STRING = _row(r"(?<![\w-])string=(?P<secret>.*)")
_ARGUMENT = _row(r"[^\s]+")
_ARGUMENTS = (
    (_row(r"\btype=11,"), _row(r"(?<=,)value="), _row(_REST)),
    (_row(r"\bsecret(?:_keyring)?,"), _row(r"(?<=,)data="), _row(_VALUE)),
)
# The same as JSON, in any order.
_QOM = _row(r"\"qom-type\"\s*:\s*\"secret")
_QOM_DATA = _row(r"\"data\"\s*:\s*(?P<secret>\"(?:[^\"\\]|\\.)*\")")
# In two parts, as what has a harmless key is looked into: `https://host/?user=me&token=...`.
_ASSIGNED, _ASSIGNED_VALUE = _row(rf"{_KEY}\s?=\s?"), _row(_VALUE)
# Only where the text is known to be no sentence: there `token: unknown field` may be one.
_FLOW = _row(rf"(?<=[{{,])\s*(?P<key>[\w.-]{{1,64}})\s*:\s+(?P<secret>{_QUOTED}|[^\s,}}\]]+)")


def hide_phrases(text: str, mask: Mask) -> str:
    """Hide the secrets of a text of any kind."""
    for pattern in _TABLE:
        text = _apply(pattern, text, mask)
    for hide in (_hide_strings, _hide_objects, _hide_assigned):
        text = hide(text, mask)
    return text


def hide_flow(text: str, mask: Mask) -> str:
    """Hide the secrets in YAML mappings that stand on one line."""
    return _apply(_FLOW, text, mask)


def _apply(pattern: Pattern[str], text: str, mask: Mask) -> str:
    def replace(found: Match[str]) -> str:
        groups = found.groupdict()
        if not is_secret_name(groups.get("key", "password")):
            return found[0]
        start, end = (position - found.start() for position in found.span("secret"))
        return found[0][:start] + cover(found["secret"], mask) + found[0][end:]

    return pattern.sub(replace, text)


def _hide_strings(text: str, mask: Mask) -> str:
    if ",name=opt/" not in text:
        return text

    def replace(found: Match[str]) -> str:
        if found["tail"] is None:
            return found[0]
        return _apply(_STRING, found["body"], mask) + found["tail"]

    return _UP_TO_NAME.sub(replace, text)


def _hide_objects(text: str, mask: Mask) -> str:
    if _QOM.search(text):
        text = _apply(_QOM_DATA, text, mask)
    for head, start, value in _ARGUMENTS:
        text = _hide_arguments(head, start, value, text, mask)
    return text


def _hide_arguments(
    head: Pattern[str], start: Pattern[str], value: Pattern[str], text: str, mask: Mask
) -> str:
    """Hide each value that starts in an argument with such a head; it may end beyond that."""
    if head.search(text) is None:
        return text
    parts: List[str] = []
    end = 0
    for argument in _ARGUMENT.finditer(text):
        first = head.search(text, max(end, argument.start()), argument.end())
        if first is None:
            continue
        for found in start.finditer(text, first.end(), argument.end()):
            secret = value.match(text, found.end()) if found.start() >= end else None
            if secret is not None:
                parts += text[end : found.end()], cover(secret["secret"], mask)
                end = secret.end()
    return "".join([*parts, text[end:]])


def _hide_assigned(text: str, mask: Mask) -> str:
    parts: List[str] = []
    end = 0
    for found in _ASSIGNED.finditer(text):
        if found.start() < end or not is_secret_name(found["key"]):
            continue
        value = _ASSIGNED_VALUE.match(text, found.end())
        if value is not None:
            parts += text[end : value.start()], cover(value["secret"], mask)
            end = value.end()
    return "".join([*parts, text[end:]])


def cover(secret: str, mask: Mask) -> str:
    """Return what is shown for a secret, in the quotes that it has."""
    if len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "\"'":
        return secret[0] + mask(secret[1:-1]) + secret[-1]
    return mask(secret)
