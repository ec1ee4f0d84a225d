"""Secrets in running text, wherever it comes from: a message, an argument, a line of a file.

A row of the table is a pattern whose group `secret` is hidden and, where it has a group `key`,
only if that is the name of a secret.
"""

from __future__ import annotations

import re
from typing import Callable, List, Match, Pattern, Tuple

from reconciler.core.secrets.mask import Mask
from reconciler.core.secrets.names import is_secret_name

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
    _row(rf"io\.systemd\.credential(?:\.binary)?:[^=\s]+={_REST}"),
    # qemu(1): -fw_cfg, -smbios type=11, -object secret, and the key of a Ceph image
    _row(rf"\bname=opt/[^,\s]*,string={_REST}"),
    _row(r"(?<![\w-])string=(?P<secret>(?:[^,\n]|,,)*),name=opt/"),
    _row(rf"\btype=11,(?:[^\s]*,)?value={_REST}"),
    _row(rf"\bsecret(?:_keyring)?,(?:[^\s]*,)?data={_VALUE}"),
    _row(r"\"data\"\s*:\s*(?P<secret>\"(?:[^\"\\]|\\.)*\")(?=.*\"qom-type\"\s*:\s*\"secret)"),
    _row(r"\"qom-type\"\s*:\s*\"secret.*?\"data\"\s*:\s*(?P<secret>\"(?:[^\"\\]|\\.)*\")"),
    _row(r"(?<=:key=)(?P<secret>[^:\s,'\"]+)"),
    _row(
        rf"(?P<quote>[\"'])(?P<key>[\w.-]{{1,64}})(?P=quote)\s*:\s*(?P<secret>{_QUOTED}|[^\s,}}\]]+)"
    ),
)
# In two parts, as what has a harmless key is looked into: `https://host/?user=me&token=...`.
_ASSIGNED, _ASSIGNED_VALUE = _row(rf"{_KEY}\s?=\s?"), _row(_VALUE)
# Only where the text is known to be no sentence: there `token: unknown field` may be one.
_FLOW = _row(rf"(?<=[{{,])\s*(?P<key>[\w.-]{{1,64}})\s*:\s+(?P<secret>{_QUOTED}|[^\s,}}\]]+)")


def hide_phrases(text: str, mask: Mask) -> str:
    """Hide the secrets of a text of any kind."""
    for pattern in _TABLE:
        text = _apply(pattern, text, mask)
    return _hide_assigned(text, mask)


def hide_flow(text: str, mask: Mask) -> str:
    """Hide the secrets in YAML mappings that stand on one line."""
    return _apply(_FLOW, text, mask)


def _apply(pattern: Pattern[str], text: str, mask: Mask) -> str:
    def replace(found: Match[str]) -> str:
        groups = found.groupdict()
        if not is_secret_name(groups.get("key", "password")):
            return found[0]
        start, end = (one - found.start() for one in found.span("secret"))
        return found[0][:start] + cover(found["secret"], mask) + found[0][end:]

    return pattern.sub(replace, text)


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
