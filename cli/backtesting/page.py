"""HTML pages that stand alone: their style inside, their pictures as data: URIs, no script.

Every text goes through `escape`; a page loads nothing, from anywhere.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light; --ink: #1d2129; --faint: #5c6370; --line: #e2e5ea; --band: #f6f7f9;
  --good: #00664b; --bad: #a63d00; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem; color: var(--ink);
  background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 52rem; } .faint { color: var(--faint); font-size: .9rem; }
.note { border-left: 4px solid #e69f00; background: #fff8e6; padding: .5rem .8rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .65rem .85rem; }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; line-height: 1.35;
  overflow-wrap: anywhere; }
.card span { color: var(--faint); font-size: .84rem; }
.card small { display: block; color: var(--faint); font-size: .78rem; line-height: 1.35; }
.good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; } .sums th { font-weight: 400; }
thead th { background: var(--band); white-space: nowrap; }
td.n, th.n { text-align: right; white-space: pre;
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .9rem; }
thead th.n { font-family: inherit; }
tr.sum > * { border-top: 2px solid var(--ink); font-weight: 700; }
table.wide { font-size: .85rem; white-space: nowrap; }
table.wide td, table.wide th { padding: .2rem .5rem; }
figure { margin: 1.2rem 0; } figure img { width: 100%; height: auto; display: block; }
figcaption { color: var(--faint); font-size: .86rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .88em;
  overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; } figure { break-inside: avoid; } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The page itself forbids a browser to load anything, whatever stands in it."""


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """The whole page; `body` is HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def card(name: str, value: str, note: str = "", kind: str = "") -> str:
    return (
        f'<div class="card"><span>{escape(name)}</span><b class="{escape(kind)}">{escape(value)}'
        f"</b><small>{escape(note)}</small></div>"
    )


def cards(found: Iterable[str]) -> str:
    return '<div class="cards">' + "\n".join(found) + "</div>"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and what they are."""
    lines = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def sums(rows: Sequence[tuple[str, str]], result: int) -> str:
    """A column of decimals, their points one below the other; the row `result` is their sum."""
    aligned = align([value for _, value in rows])
    lines = []
    for number, ((name, _), value) in enumerate(zip(rows, aligned, strict=True)):
        kind = ' class="sum"' if number == result else ""
        lines.append(f'<tr{kind}><th>{escape(name)}</th><td class="n">{escape(value)}</td></tr>')
    return '<table class="sums">' + "\n".join(lines) + "</table>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: frozenset[int]) -> str:
    """A wide table; the columns in `numeric` stand to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in numeric else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="wide"><thead><tr>{line(headers, "th")}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def picture(image: bytes, description: str) -> str:
    """A PNG within the page."""
    data = base64.b64encode(image).decode("ascii")
    return (
        f'<figure><img alt="{escape(description)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(description)}</figcaption></figure>"
    )


def align(values: Sequence[str]) -> list[str]:
    """Group the thousands of exact decimals and fill their ends, so that the points line up."""
    longest = max((len(value.partition(".")[2]) for value in values), default=0)
    room = longest + 1 if longest else 0
    return [
        grouped(value) + " " * (room - len(tail) - 1 if tail else room)
        for value in values
        for tail in [value.partition(".")[2]]
    ]


def grouped(text: str) -> str:
    """Write an exact decimal with commas and a true minus sign; other text stays as it is."""
    sign = "\N{MINUS SIGN}" if text.startswith("-") else ""
    whole, point, tail = text.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{tail}" if whole.isdigit() else text
