"""What is wrong between documents: the same name, image or address twice, objects in a circle.

Objects are told apart by their number among all documents, so that a clash can name both places.
"""

from __future__ import annotations

from itertools import combinations
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.documents import Claim, Clash, DocumentPath, Finding, Together
from reconciler.core.kinds import find_all_needs, find_cycle, find_row, list_rows

_NAME: DocumentPath = ("metadata", "name")
SHARE = "; if guests share a raw image, set shareable: true on this disk of both"
_Key = Tuple[str, ...]


def check_together(documents: Together) -> Tuple[List[Clash], Mapping[int, List[Finding]]]:
    """Return the clashes between documents, and the findings about single ones by number."""
    clashes = list(_find_clashes(documents))
    spoiled = (
        documents.invalid | {clash.one for clash in clashes} | {clash.other for clash in clashes}
    )
    findings: Dict[int, List[Finding]] = {}
    for row in list_rows():
        for number, finding in row.check_beside(documents, spoiled):
            findings.setdefault(number, []).append(finding)
    for number, finding in _check_order(documents, findings):
        findings.setdefault(number, []).append(finding)
    return clashes, findings


def _check_order(
    documents: Together, told: Mapping[int, Sequence[Finding]]
) -> Iterator[Tuple[int, Finding]]:
    """Yield what is wrong with objects of which each would have to be there before the other.

    Of one that names itself its kind has told where.
    """
    numbers = {manifest.key: number for number, manifest in documents.manifests.items()}
    cycle = find_cycle(find_all_needs(documents.desired))
    names_itself = len(set(cycle)) == 1
    if cycle and not (names_itself and numbers[cycle[0]] in told):
        path = " -> ".join(key.name for key in cycle)
        message = f"would have to be there before itself: {path}; take one of these out"
        yield numbers[cycle[0]], Finding(_NAME, message)


def _find_clashes(documents: Together) -> Iterator[Clash]:
    by_key: Dict[_Key, List[Claim]] = {}
    for claim in _all_claims(documents):
        by_key.setdefault(claim.key, []).append(claim)
    for key, claims in by_key.items():
        yield from _clashes_of(key, claims)


def _clashes_of(key: _Key, claims: Sequence[Claim]) -> Iterator[Clash]:
    """Yield one clash for each claim that meets an earlier one."""
    told = set()
    for earlier, later in combinations(claims, 2):
        if later not in told and earlier.meets(later):
            told.add(later)
            message = f"{_describe(key)} is already used"
            could_share = earlier.is_raw and later.is_raw and earlier.number != later.number
            advice = SHARE if could_share else ""
            yield Clash(
                one=later.number,
                path=later.path,
                message=message,
                other=earlier.number,
                other_path=earlier.path,
                advice=advice,
            )


def _describe(key: _Key) -> str:
    kind, *words = key
    return {"volume": "volume {1!r} of pool {0!r}", "path": "image {0}"}.get(
        kind, f"{kind} {{0}}"
    ).format(*words)


def _all_claims(documents: Together) -> Iterator[Claim]:
    for number, (kind, name) in sorted(documents.names.items()):
        yield Claim(number, _NAME, (f"{kind} name", name))
    for number, manifest in sorted(documents.manifests.items(), key=lambda item: item[0]):
        yield from find_row(manifest.key.kind).claims(number, manifest)
