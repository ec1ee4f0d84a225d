"""Secrets in running text and in markup, and which names say that a value is one."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Callable, List, Match, Pattern, Sequence, Set, Tuple

from reconciler.core.frozen import regex

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
_CAMEL = regex(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN = regex(r"[^a-z0-9]+")


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
    return regex(pattern, re.VERBOSE | re.DOTALL)


# What one of must be in a text for the expression to find anything: most texts have none of it.
_TABLE: Tuple[Tuple[Tuple[str, ...], Pattern[str]], ...] = (
    (
        ("-----BEGIN",),
        _row(r"-----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----(?P<secret>.*?)(?:-----END|\Z)"),
    ),
    # crypt(5): a hash is what an attacker needs to try passwords
    (("$",), _row(r"(?P<secret>\$(?:1|2[abxy]?|5|6|7|y|gy)\$[./A-Za-z0-9$=,]{8,})")),
    # up to the last @ of the host's part: a password may have one itself
    (("@",), _row(r"\bhttps?://(?P<secret>[^/\s'\"<>]+)@")),
    (("@",), _row(r"://[^/\s:@'\"<>]*:(?P<secret>[^/\s'\"<>]+)@")),
    # smbios-type-11(7): what systemd takes from an OEM string
    (
        ("io.systemd.credential",),
        _row(rf"io\.systemd\.credential(?:\.binary)?:[^=\s]{{1,256}}={_REST}"),
    ),
    # qemu(1): -fw_cfg (whose names have 55 characters at most), and the key of a Ceph image
    (("name=opt/",), _row(rf"\bname=opt/[^,\s]{{0,256}},string={_REST}")),
    ((":key=",), _row(r"(?<=:key=)(?P<secret>[^:\s,'\"]+)")),
    (
        ("'", '"'),
        _row(
            r"(?P<quote>[\"'])(?P<key>[\w.-]{1,64})(?P=quote)\s*:\s*"
            rf"(?P<secret>{_QUOTED}|[^\s,}}\]]+)"
        ),
    ),
)
# qemu(1): -fw_cfg with its value first. The tail is the end of what may be a value. An argument has
# no space; the value of -smbios type=11 is the rest of the line, that of -object secret its `data`.
_UP_TO_NAME = _row(r"(?P<body>(?:[^,\n]|,,)+)(?P<tail>,name=opt/)?")
_STRING = _row(r"(?<![\w-])string=(?P<secret>.*)")
_ARGUMENT = _row(r"[^\s]+")
_ARGUMENTS = (
    ("type=11,", _row(r"\btype=11,"), _row(r"(?<=,)value="), _row(_REST)),
    ("secret", _row(r"\bsecret(?:_keyring)?,"), _row(r"(?<=,)data="), _row(_VALUE)),
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
    for signs, pattern in _TABLE:
        if any(sign in text for sign in signs):
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
    if '"qom-type"' in text and _QOM.search(text):
        text = _apply(_QOM_DATA, text, mask)
    for sign, head, start, value in _ARGUMENTS:
        if sign in text:
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
    if "=" not in text:
        return text
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


# Elements (parent, element) whose text is the secret: what firmware and guest are handed, the
# session of an encrypted guest, and what a web server takes for a login.
_TEXTS = frozenset(
    {
        ("oemStrings", "entry"),
        ("sysinfo", "entry"),
        ("launchSecurity", "session"),
        ("cookies", "cookie"),
    }
)
# Attributes that are a secret whatever else is known: the environment of QEMU.
_ATTRIBUTES = frozenset({("env", "value")})
# libvirt's <secret> and secret='…' name a secret that libvirt keeps itself.
_REFERENCE = "secret"
_LONG_NUMBER = regex(r"&#([0-9]{8,})")
_CREDENTIAL = regex(r"io\.systemd\.credential(?:\.binary)?:[^=\s]+=")
_TOKEN = regex(
    r"""(?P<comment><!--.*?(?:-->|\Z))
    | <!\[CDATA\[(?P<data>.*?)(?:\]\]>|\Z)
    | <(?P<close>/?)(?P<name>[A-Za-z_][\w.:-]*)(?![\w.:-])(?P<rest>(?:[^<>"']|"[^"]*"|'[^']*')*)>
    """,
    re.VERBOSE | re.DOTALL,
)
# From the beginning of a word only, so that a long one is read once.
_ATTRIBUTE = regex(
    r"""(?<![\w.:-])(?P<name>[\w.:-]+)(?P<equals>\s*=\s*)(?P<value>"[^"]*"|'[^']*')"""
)


class Scanner:
    """One pass over a text; `ancestors` are the elements around it, outermost first."""

    def __init__(self, ancestors: Sequence[str], hide: Hide, mask: Mask) -> None:
        """Hide running text with `hide`, and what is a secret as a whole with `mask`."""
        self._stack: List[Tuple[str, bool]] = [("", False)]
        self._open_names: Counter[str] = Counter()
        self._hide, self._mask = hide, mask
        for name in ancestors:
            self._open(name, is_named=False)

    def scan(self, text: str) -> str:
        """Return the text without secrets."""
        if "<" not in text:
            return self._text(text)
        parts: List[str] = []
        end = 0
        for token in _TOKEN.finditer(text):
            parts.append(self._text(text[end : token.start()]))
            parts.append(self._token(token))
            end = token.end()
        return "".join([*parts, self._text(text[end:])])

    def attribute(self, element: str, name: str, value: str, *, is_named: bool = False) -> str:
        """Return the value of an attribute; `is_named`: beside a `name` that says secret."""
        pair = (local(element), local(name))
        secret = is_secret_name(name) and pair[1] != _REFERENCE
        if secret or pair in _ATTRIBUTES or (is_named and pair[1] == "value"):
            return self._mask(value)
        return self._hide(value, self._mask)

    def _token(self, token: Match[str]) -> str:
        if token["comment"] is not None:
            return _rewrite(token["comment"], self._hide(token["comment"], self._mask))
        if token["data"] is not None:
            return token[0].replace(token["data"], self._text(token["data"]), 1)
        if token["close"]:
            self._close(token["name"])
            return token[0]
        return self._start(token)

    def _start(self, token: Match[str]) -> str:
        name, rest = token["name"], token["rest"]
        is_named = any(
            local(attribute["name"]) == "name" and is_secret_name(attribute["value"][1:-1])
            for attribute in _ATTRIBUTE.finditer(rest)
        )
        shown = _ATTRIBUTE.sub(
            lambda attribute: self._pair(name, attribute, is_named=is_named), rest
        )
        if not rest.endswith("/"):
            self._open(name, is_named=is_named)
        return f"<{name}{shown}>"

    def _pair(self, element: str, found: Match[str], *, is_named: bool) -> str:
        raw = unescape(found["value"][1:-1])
        shown = self.attribute(element, found["name"], raw, is_named=is_named)
        if shown == raw:
            return found[0]
        from html import escape  # noqa: PLC0415 - start-up time

        quote = found["value"][0]
        return f"{found['name']}{found['equals']}{quote}{escape(shown)}{quote}"

    @property
    def is_secret(self) -> bool:
        """Whether text here is a secret as a whole."""
        return self._stack[-1][1]

    def cover(self, raw: str) -> str:
        """Return what is shown for such a text; the name of a credential is none."""
        text = raw.strip()
        if not text:
            return raw
        credential = _CREDENTIAL.match(text)
        head = credential[0] if credential else ""
        return raw.replace(text, head + cover(text[len(head) :], self._mask), 1)

    def _text(self, text: str) -> str:
        raw = unescape(text)
        shown = self.cover(raw) if self.is_secret else self._hide(raw, self._mask)
        if shown == raw:
            return text
        from html import escape  # noqa: PLC0415 - start-up time

        return escape(shown, quote=False)

    def _open(self, name: str, *, is_named: bool) -> None:
        parent, was_secret = self._stack[-1]
        here = local(name)
        is_secret = is_secret_name(here) and here != _REFERENCE
        secret = was_secret or is_named or is_secret or (parent, here) in _TEXTS
        self._stack.append((here, secret))
        self._open_names[here] += 1

    def _close(self, name: str) -> None:
        """Leave the element, and those in it that were never closed."""
        closed, found = local(name), ""
        while self._open_names[closed] and found != closed:
            found, _ = self._stack.pop()
            self._open_names[found] -= 1


def unescape(text: str) -> str:
    """Return the text without entities; a number that is no character's may have any length."""
    if "&" not in text:
        return text
    from html import unescape as read_entities  # noqa: PLC0415 - start-up time

    return read_entities(_LONG_NUMBER.sub(lambda number: f"&#{number[1].lstrip('0')[:8]}", text))


def local(name: str) -> str:
    """Return a name without its prefix."""
    return name.rpartition(":")[2]


def _rewrite(raw: str, shown: str) -> str:
    """Keep a comment a comment, whatever was hidden in it."""
    if shown.endswith("-->") or not raw.endswith("-->"):
        return shown
    return f"{shown}-->"
