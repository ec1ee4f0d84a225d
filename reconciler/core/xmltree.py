"""XML text to tree and back: the only importer of lxml.

Parses what a stranger may have written, so: no network, no entities, no document type. Writes as
libvirt writes, so that a line nobody touched comes out as it went in. Knows nothing of domains.
"""

from __future__ import annotations

import copy
import hashlib
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from lxml import etree

from reconciler.core.frozen import regex
from reconciler.errors import TerminalError

Element = etree._Element  # noqa: SLF001 - lxml's public factory returns it, under no public name


def _make_parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        strip_cdata=False,
        recover=recover,
    )


_PARSER = _make_parser(recover=False)
# What is written for a character. A changed definition has thousands of texts to be written.
_MARKUP = {"&": "&amp;", ">": "&gt;", "<": "&lt;"}
_PLAIN = str.maketrans(_MARKUP)
QUOTED = str.maketrans({**_MARKUP, "'": "&apos;", '"': "&quot;"})
_LIBXML = str.maketrans({**_MARKUP, '"': "&quot;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})
_DOCTYPE = "<!DOCTYPE"
# libxml2 stops at 256 levels or 2048, by its version; libvirt's own are fewer than 20.
MOST_NESTED = 200
MOST_DIGITS = 30  # of a number
_PIECE = regex(
    r"""<!--.*?(?:-->|\Z) | <!\[CDATA\[.*?(?:\]\]>|\Z) | <\?.*?(?:\?>|\Z) | (?P<doctype><!DOCTYPE)
    | (?P<close></) | <(?P<open>[^<>"'!?/](?:[^<>"']|"[^"]*"|'[^']*')*)>""",
    re.VERBOSE | re.DOTALL,
)
_INDENT = "  "


def parse(text: str, *, is_ours: bool = False) -> Element:
    """Parse one XML document. Raises TerminalError that names the line.

    libvirt keeps a namespace that is not a URI, or a prefix of none; one of `is_ours` has neither.
    """
    place = _find_document_type(text)
    if place is not None:  # before the parser sees it: some versions open what it names
        line = text.count("\n", 0, place) + 1
        raise TerminalError(f"XML with a document type (<!DOCTYPE) is refused, line {line}")
    try:
        return etree.fromstring(text, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        root = None if is_ours else _parse_namespaces(text)
        if root is not None:
            return root
        if measure_depth(text) > MOST_NESTED:  # the parser's limit and words are its version's
            raise TerminalError(f"XML nested more than {MOST_NESTED} deep is refused") from error
        line = getattr(error, "lineno", None) or 1
        message = str(error).split(", line ")[0]
        raise TerminalError(f"not well-formed XML, line {line}: {message}") from error


def _parse_namespaces(text: str) -> Optional[Element]:
    """Return the document if nothing is wrong with it but namespaces."""
    parser = _make_parser(recover=True)  # with a log of its own
    try:
        root: Optional[Element] = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    domains = {entry.domain for entry in parser.error_log}
    return root if domains == {etree.ErrorDomains.NAMESPACE} else None


def _find_document_type(text: str) -> Optional[int]:
    """Return where a document type begins; one in a comment or the like is none."""
    if _DOCTYPE not in text:
        return None
    found = (piece for piece in _PIECE.finditer(text) if piece["doctype"] is not None)
    return next((piece.start() for piece in found), None)


def measure_depth(text: str) -> int:
    """Return how deep the elements of a text are nested, well-formed or not."""
    depth = deepest = 0
    for piece in _PIECE.finditer(text):
        if piece["close"] is not None:
            depth -= 1
        elif piece["open"] is not None and not piece["open"].endswith("/"):
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def make(tag: str, attributes: Optional[Mapping[str, Any]] = None, *children: Element) -> Element:
    """Build an element; attributes that are None are left out."""
    element = etree.Element(tag)
    for name, value in (attributes or {}).items():
        if value is not None:
            element.set(name, str(value))
    element.extend(children)
    return element


def make_text(tag: str, text: object, attributes: Optional[Mapping[str, Any]] = None) -> Element:
    """Build an element that holds text."""
    element = make(tag, attributes)
    element.text = str(text)
    return element


def make_namespaced(tag: str, namespaces: Mapping[Optional[str], str]) -> Element:
    """Build an element (`{uri}tag`) that declares the given prefixes."""
    return etree.Element(tag, nsmap={**namespaces})  # type: ignore[dict-item]  # None is allowed


def copy_of(element: Element) -> Element:
    """Return a deep copy without what follows the element."""
    twin = copy.deepcopy(element)
    twin.tail = None
    return twin


def is_element(node: Element) -> bool:
    """Whether the node is an element, not a comment or a processing instruction."""
    return isinstance(node.tag, str)


def children_of(element: Element) -> List[Element]:
    """Return the child elements, without comments."""
    return [node for node in element if is_element(node)]


def attributes_of(element: Element) -> List[Tuple[str, str]]:
    """Return the attributes in the order they are written."""
    return [(str(name), str(value)) for name, value in element.attrib.items()]


def parse_number(text: str, base: int = 10) -> int:
    """Return the whole number that an attribute or element holds; base 0 takes `0x1f`, too.

    Raises TerminalError for anything else, and for more digits than any number of a domain has.
    """
    digits = text.strip()
    try:
        if len(digits) <= MOST_DIGITS:
            return int(digits, base)
    except ValueError:
        pass
    shown = repr(digits if len(digits) <= MOST_DIGITS else f"{digits[:MOST_DIGITS]}…")
    raise TerminalError(f"the domain's XML has {shown} where a whole number must be")


def indent(element: Element, depth: int) -> None:
    """Lay out a new element that will stand `depth` levels below the root."""
    etree.indent(element, space=_INDENT, level=depth)


def digest(xml: str) -> str:
    """Return the sha256, in hex, of the canonical form of a document: equal for an equal meaning.

    The form is C14N, as in every digest that was ever kept. It does not exist for a namespace that
    is not an absolute URI, which libvirt keeps in a domain's metadata: such a document has ours.
    """
    root = parse(xml)
    try:
        form = etree.tostring(root, method="c14n")
    except etree.LxmlError:
        form = "\n".join(_canonical(root)).encode()
    return hashlib.sha256(form).hexdigest()


def _canonical(root: Element) -> Iterator[str]:
    """Yield a line for each beginning and end in the document, of all that has a meaning."""
    for event, node in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event == "start":
            yield repr((node.tag, sorted(attributes_of(node)), node.text or ""))
        elif event == "end":
            yield repr(node.tail or "")
        else:
            yield repr((event, etree.tostring(node, encoding="unicode")))


def serialise(root: Element) -> str:
    """Write a whole document in libvirt's style: single quotes, own escapes, a last newline."""
    before = [etree.tostring(node, encoding="unicode") for node in _before(root)]
    return "\n".join([*before, fragment(root)]) + "\n"


def write_document(root: Element) -> str:
    """Write a document for other readers than libvirt: with a declaration, laid out."""
    etree.indent(root, space=_INDENT)
    body = etree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def fragment(element: Element) -> str:
    """Write one element, without what follows it."""
    parts: List[str] = []
    _write(element, parts, {})
    return "".join(parts)


def _before(root: Element) -> Iterator[Element]:
    return iter(list(root.itersiblings(preceding=True))[::-1])


def _write(node: Element, parts: List[str], known: Mapping[Optional[str], str]) -> None:
    if not is_element(node):
        parts.append(etree.tostring(node, encoding="unicode", with_tail=False))
        return
    name, declared = qualified_name(node), _declared(node, known)
    parts.append(f"<{name}{_attributes(node, declared)}")
    if not len(node) and not node.text:
        parts.append("/>")
        return
    parts.append(f">{escape(node.text or '', QUOTED)}")
    _write_children(node, parts, {**known, **declared})
    parts.append(f"</{name}>")


def _write_children(node: Element, parts: List[str], known: Mapping[Optional[str], str]) -> None:
    foreign = node.tag == "metadata"
    for child in node:
        if foreign and is_element(child):  # libvirt has libxml2 write these, with its own quotes
            parts.append(_foreign(child, known))
        else:
            _write(child, parts, known)
        parts.append(escape(child.tail or "", _PLAIN if foreign else QUOTED))


def _foreign(element: Element, known: Mapping[Optional[str], str]) -> str:
    """Write foreign metadata as libxml2 does, without repeating the root's namespaces."""
    text: str = etree.tostring(element, encoding="unicode", with_tail=False)
    for prefix, uri in known.items():
        if not _uses(element, uri):
            declared = f' xmlns:{prefix}="{escape(uri, _LIBXML)}"'
            text = text.replace(declared, "", 1)
    return text


def _uses(element: Element, uri: str) -> bool:
    return any(is_element(node) and uri in node.tag for node in element.iter())


def qualified_name(node: Element) -> str:
    """Return the element's name with its prefix, as it is written."""
    local = node.tag.rsplit("}", 1)[-1]
    return f"{node.prefix}:{local}" if node.prefix else local


def _declared(node: Element, known: Mapping[Optional[str], str]) -> Dict[Optional[str], str]:
    return {prefix: uri for prefix, uri in node.nsmap.items() if known.get(prefix) != uri}


def _attributes(node: Element, declared: Mapping[Optional[str], str]) -> str:
    pairs = [(_attribute_name(node, key), value) for key, value in attributes_of(node)]
    spaces = [(f"xmlns:{prefix}" if prefix else "xmlns", uri) for prefix, uri in declared.items()]
    return "".join(f" {name}={_quote(value)}" for name, value in [*pairs, *spaces])


def _attribute_name(node: Element, key: str) -> str:
    if not key.startswith("{"):
        return key
    uri, local = key[1:].split("}", 1)
    prefix = next((prefix for prefix, have in node.nsmap.items() if have == uri and prefix), "xml")
    return f"{prefix}:{local}"


def _quote(value: str) -> str:
    return f"'{escape(value, QUOTED)}'"


def escape(text: str, entities: Mapping[int, str] = _PLAIN) -> str:
    """Return the text with these characters as entities, by default those of markup.

    The standard library's does the same, and imports an HTTP client on the way.
    """
    return text if text.isalnum() else text.translate(entities)
