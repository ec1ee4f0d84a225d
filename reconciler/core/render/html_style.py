"""How the page looks: light and dark as the reader's system is, on screen and on paper."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #59636e; --page: #fff; --box: #f6f8fa;
  --line: #d1d9e0; --red: #b3211a; --redbox: #ffebe9; --amber: #7d4e00; --amberbox: #fff4d3;
  --green: #116329; --greenbox: #dafbe1; --violet: #6639ba; --violetbox: #f3ebff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa4af; --page: #0d1117;
  --box: #161b22; --line: #3d444d; --red: #ff9b94; --redbox: #3c1618; --amber: #e8b64a;
  --amberbox: #33270a; --green: #7ee095; --greenbox: #10301b; --violet: #cfadff;
  --violetbox: #2b1c48; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
a { color: inherit; }
.of { color: var(--dim); margin: .25rem 0 1rem; }
.sum { font-weight: 600; font-size: 1.1rem; margin: 0; }
.alarm { border: 2px solid var(--red); border-left-width: .6rem; background: var(--redbox);
  padding: .25rem 1rem .75rem; margin: 1rem 0; border-radius: .3rem; }
.alarm h2 { color: var(--red); margin-top: .5rem; }
.held { border: 1px solid var(--violet); border-left-width: .6rem; padding: .25rem 1rem .75rem;
  margin: 1rem 0; border-radius: .3rem; }
.held h2 { margin-top: .5rem; }
ul { margin: 0; padding-left: 1.2rem; }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .4rem .75rem; background: var(--box); }
.sign { display: inline-block; min-width: 1.2rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th:nth-child(1) { width: 3rem; } th:nth-child(2) { width: 8.5rem; } th:nth-child(4) { width: 30%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem;
  border-top: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); font-size: .85rem; }
.why { color: var(--dim); }
.effect { display: inline-block; border: 1px solid currentColor; border-radius: .3rem;
  padding: 0 .4rem; font-size: .85rem; font-weight: 600; white-space: nowrap; }
.live, .offline { color: var(--green); background: var(--greenbox); }
.next-boot { color: var(--amber); background: var(--amberbox); }
.restart, .destructive { color: var(--red); background: var(--redbox); border-width: 2px; }
.withheld { color: var(--violet); background: var(--violetbox); border-style: dashed; }
pre { margin: .3rem 0 0; padding: .4rem .6rem; border: 1px solid var(--line); overflow-x: auto;
  background: var(--box); white-space: pre-wrap; }
ins, del { text-decoration: none; }
ins { color: var(--green); background: var(--greenbox); }
del { color: var(--red); background: var(--redbox); }
.note { margin: 0; padding: .3rem .75rem; border-top: 1px solid var(--line); color: var(--dim); }
@media (max-width: 40rem) { table, tbody, tr, td { display: block; }
  thead { position: absolute; clip-path: inset(50%); }
  tr { border-top: 1px solid var(--line); padding: .3rem 0; } td { border: 0; padding: 0 .75rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  details::details-content { content-visibility: visible; height: auto; }
  details, .alarm, .held, tr { break-inside: avoid; } summary { background: none; }
  .effect, .alarm, ins, del { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def policy() -> str:
    """Return what a browser may do with the page: show it in this style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
