"""XML in and out: what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.xmltree import digest, make, make_text, parse, serialise
from reconciler.errors import TerminalError

BOMB = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]><d>&b;</d>"
REFUSED = {
    "": "line 1",
    "<a>\n<b></a>": "line 2",
    "<a/><b/>": "line 1",
    BOMB: "document type",
    "<!DOCTYPE d SYSTEM 'file:///etc/passwd'><d/>": "document type .* line 1",
    "<?xml version='1.0'?>\n\n<!DOCTYPE d><d/>": "document type .* line 3",
    "<?xml version='1.0' encoding='utf-8'?><a/>": "line 1",
    "plain text": "line 1",
    "<a>\x00</a>": "line 1",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_plain_xml_is_refused_with_the_line(text: str) -> None:
    with pytest.raises(TerminalError, match=REFUSED[text]):
        parse(text)


KEPT = (
    "<domain type='kvm' id='1' xmlns:qemu='http://q'>\n  <qemu:commandline/>\n</domain>\n",
    "<a>\n  <!-- a comment -->\n  <?pi x?>\n  <b c='&apos;&quot;&lt;&gt;&amp;'/>\n</a>\n",
    "<a>text &lt; &amp; &apos; &quot;\n two</a>\n",
    "<!-- before -->\n<a/>\n",
    '<a>\n  <metadata>\n    <x:y xmlns:x="u" b="it\'s"><x:z>a "b"</x:z></x:y>\n  </metadata>\n</a>\n',
    "<a xml:lang='en'/>\n",
)


@pytest.mark.parametrize("text", KEPT)
def test_what_libvirt_writes_comes_out_as_it_went_in(text: str) -> None:
    assert serialise(parse(text)) == text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0xFFFD)))
def test_any_text_survives(text: str) -> None:
    root = make("a", {"b": text}, make_text("c", text))
    again = parse(serialise(root))
    assert (again.get("b"), again.findtext("c")) == (text, text)


def test_a_digest_is_of_the_meaning() -> None:
    one = digest("<a b='1' c='2'><d/></a>")
    assert one == digest('<a c="2" b="1"><d></d></a>\n')
    assert one != digest("<a b='1' c='3'><d/></a>")


def test_a_digest_that_was_kept_is_still_equal() -> None:
    """Histories and plan files have digests of earlier versions."""
    known = "d6c1f23c3d7905615e698222c84fe1602ec2f75041c33ff4662a4fcbbe969537"
    assert digest("<a c='2' b='1'><x:d xmlns:x='http://x/1'>t</x:d><!-- c --></a>") == known


@pytest.mark.parametrize("name", ["inventory", "", "un raid", "../x", "a:b:c"])
def test_a_digest_is_made_whatever_namespace_a_note_has(name: str) -> None:
    def note(attributes: str, text: str) -> str:
        return f"<domain><metadata><inv:rack xmlns:inv='{name or 'u'}' {attributes}>{text}</inv:rack></metadata></domain>"

    one = digest(note("a='1' b='2'", "a1"))
    assert one == digest(note("b='2' a='1'", "a1"))
    assert one != digest(note("a='1' b='3'", "a1"))
    assert one != digest(note("a='1' b='2'", "a2"))
    assert one != digest(note("a='1' b='2'", "<a1/>"))


def test_a_document_type_in_a_comment_is_none() -> None:
    text = "<a><!-- <!DOCTYPE a> --><![CDATA[<!DOCTYPE a>]]></a>"
    assert parse(text).tag == "a"
    with pytest.raises(TerminalError, match="document type"):
        parse("<?x <!-- ?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a><!-- -->")


@pytest.mark.parametrize("depth", [3000, 100_000])
def test_nesting_is_refused_in_our_words(depth: int) -> None:
    with pytest.raises(TerminalError, match="nested more than 200 deep"):
        parse("<a>" * depth + "</a>" * depth)


def test_an_attribute_that_is_none_is_left_out() -> None:
    assert serialise(make("a", {"b": None, "c": 0})) == "<a c='0'/>\n"
