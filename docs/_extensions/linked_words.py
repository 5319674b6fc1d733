"""Links from the first use of a word on a page to its entry in the glossary."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

#: Terms of docs/glossary.md and how they look in a sentence. "start" is a verb too, hence articles.
WORDS = {
    "active fraction": "active fractions?",
    "bank": "banks?|banked",
    "capacity": "capacity",
    "collapse": "collapsed?|collapses",
    "dispersion": "dispersions?",
    "expert": "experts?",
    "family": "family|families",
    "gate": "gates?",
    "lower bound": "lower bounds?",
    "partition": "partitions?",
    "region": "regions?",
    "responsibility": "responsibility|responsibilities",
    "router": "routers?",
    "start": "(?<=[Aa] )start|(?<=[Tt]he )start|starts(?= are| run| on| of| see)",
    "usage": "usage",
}
PATTERN = re.compile(
    r"\b(?:" + "|".join(f"(?P<g{i}>{p})" for i, p in enumerate(WORDS.values())) + r")\b",
    re.IGNORECASE,
)
TERMS = list(WORDS)

#: Pages that speak to newcomers in other words, and those that define the words.
NOT_ON = ("index", "changelog", "glossary", "api/", "auto_examples/")
#: Text inside these is not touched.
OPAQUE = (nodes.literal, nodes.reference, nodes.title, nodes.math, nodes.caption)


class LinkWords(SphinxTransform):
    """Make references of the first uses of words in the paragraphs of a page."""

    default_priority = 510

    def apply(self):
        """Visit the text of paragraphs in reading order."""
        if self.env.docname.startswith(NOT_ON):
            return
        seen = set()
        for paragraph in self.document.findall(nodes.paragraph):
            for text in list(paragraph.findall(nodes.Text)):
                if not any(isinstance(parent, OPAQUE) for parent in enclosing(text, paragraph)):
                    text.parent.replace(text, self.linked(str(text), seen))

    def linked(self, text, seen):
        """Return the nodes that take the place of a text."""
        result, end = [], 0
        for match in PATTERN.finditer(text):
            term = TERMS[int(match.lastgroup[1:])]
            if term in seen:
                continue
            seen.add(term)
            link = addnodes.pending_xref(
                "", refdomain="std", reftype="term", reftarget=term, refdoc=self.env.docname
            )
            link += nodes.inline("", match[0], classes=["xref", "std", "std-term"])
            result += [nodes.Text(text[end : match.start()]), link]
            end = match.end()
        return [*result, nodes.Text(text[end:])]


def enclosing(node, outermost):
    """Yield the nodes around one, up to `outermost`."""
    while node is not outermost:
        node = node.parent
        yield node


def setup(app):
    """Add the transform."""
    app.add_transform(LinkWords)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
