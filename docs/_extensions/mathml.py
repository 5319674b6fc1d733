"""Formulas as MathML, which browsers draw themselves: no script is loaded from elsewhere."""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

#: Between the name of a function and its argument without brackets, as in log p.
APPLIED = re.compile(r"<mo>&ApplyFunction;</mo>(?=\s*<m(?:i|sub|sup)\b)")
SPACE = '<mspace width="0.167em"/>'


def mathml(formula, *, block):
    """Return the markup of a formula in LaTeX, with the thin spaces that LaTeX would set."""
    return APPLIED.sub(SPACE, tex2mathml(formula, as_block=block))


def visit_inline(writer, node):
    """Write a formula within a line."""
    writer.body.append(mathml(node.astext(), block=False))
    raise SkipNode


def visit_block(writer, node):
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), block=True)}</div>')
    raise SkipNode


def setup(app):
    """Register the renderer, and choose it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
