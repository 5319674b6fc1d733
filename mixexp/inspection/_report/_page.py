"""Pieces of the page: all text is escaped here, in one place."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

__all__ = [
    "Section",
    "alerts",
    "code",
    "heading",
    "note",
    "page",
    "paragraph",
    "picture",
    "table",
    "tables",
]

#: Lines of tables that are shown without a click.
UNFOLDED = 30


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    name : str
        What links to it end in.
    title : str
        Its heading.
    parts : list of str
        HTML.
    """

    name: str
    title: str
    parts: Sequence[str]

    def __str__(self) -> str:
        body = "\n".join(self.parts)
        label = f"{self.name}-title"
        return (
            f'<section id="{self.name}" aria-labelledby="{label}">\n'
            f'<h2 id="{label}">{escape(self.title)}</h2>\n{body}\n</section>'
        )


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """Return the whole page, with a list of its sections."""
    sections = list(sections)
    here = files("mixexp.inspection._report")
    links = (f'<li><a href="#{each.name}">{escape(each.title)}</a></li>' for each in sections)
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=(here / "page.css").read_text(encoding="utf-8"),
        links="\n".join(links),
        sections="\n".join(map(str, sections)),
    )


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """Return a paragraph in small print."""
    return f'<p class="note">{escape(text)}</p>'


def heading(text: str) -> str:
    """Return a heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def alerts(texts: Iterable[str]) -> str:
    """Return a list of warnings."""
    return '<ul class="alerts">' + "".join(f"<li>{escape(t)}</li>" for t in texts) + "</ul>"


def code(text: str) -> str:
    """Return lines of code, which scroll in their own box."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def table(
    label: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> str:
    """Return a table that scrolls in its own box.

    Parameters
    ----------
    label : str
        What the table holds, for readers who do not see it.
    head : sequence of str
        Headings of the columns; none leaves the line out.
    rows : iterable of sequences of str
        The first cell of each is its heading. A line break separates lines of a cell.
    numbers : bool
        Whether all other cells are numbers.
    """
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell).replace(chr(10), '<br>')}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"<table{' class=numbers' if numbers else ''}>"
        + (f"<thead><tr>{top}</tr></thead>" if head else "")
        + f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def tables(html: str, label: str, n_lines: int) -> str:
    """Return tables that are HTML already in a box that scrolls; many lines are folded."""
    box = f'<div class="scroll numbers" role="region" tabindex="0" aria-label="{escape(label)}">'
    unfolded = " open" if n_lines <= UNFOLDED else ""
    shown = f"<summary>{escape(label)}: {n_lines} lines</summary>"
    return f"<details{unfolded}>{shown}{box}{html}</div></details>"


def picture(png: bytes, width: int, alt: str, caption: str, *, scrolls: bool = False) -> str:
    """Return a picture of a width in CSS pixels, with its bytes inside the page."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    image = f'<img src="{source}" width="{width}" alt="{escape(alt)}">'
    if scrolls:
        box = f'<div class="scroll wide" role="region" tabindex="0" aria-label="{escape(alt)}">'
        image = f"{box}{image}</div>"
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
