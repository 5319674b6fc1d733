"""API pages of public names, and links to them wherever a name stands in code font."""

import importlib
import inspect
import pkgutil
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import mixexp

#: Words that are names of `mixexp.protocols` too, but mean something else where they stand alone.
AMBIGUOUS = {"Block", "Design", "Gate", "Rows", "Scores", "Sums", "Target", "can"}


def public_names():
    """Return the full names of public classes and functions, by what may stand for them."""
    found = {}
    modules = [m.name for m in pkgutil.iter_modules(mixexp.__path__) if m.name[0] != "_"]
    for module in [mixexp, *(importlib.import_module(f"mixexp.{name}") for name in modules)]:
        for name in module.__all__:
            thing = getattr(module, name)
            full = f"{module.__name__}.{name}"
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[full] = full
                if name not in AMBIGUOUS:
                    found.setdefault(name, full)
    return found


#: Files that are pages here: names of examples and of pages, as docstrings and pages give them.
PAGE = re.compile(r"(?:examples|docs)/(\w+)\.(?:py|md)")


class LinkNames(SphinxTransform):
    """Make a reference of code that is a public name, such as `SoftmaxGate()`, or a page."""

    default_priority = 500
    names = public_names()

    def apply(self):
        """Visit the literals of a page that are not part of a link or a title."""
        inside = (nodes.reference, nodes.title, nodes.term, addnodes.pending_xref)
        for literal in list(self.document.findall(nodes.literal)):
            target = self.target(literal.astext())
            if target and not any(isinstance(parent, inside) for parent in parents(literal)):
                link = addnodes.pending_xref("", refdoc=self.env.docname, **target)
                literal.replace_self(link)
                link += literal

    def target(self, text):
        """Return what a text refers to, as attributes of a reference; None if to nothing."""
        if name := self.names.get(text.removesuffix("()")):
            return {"refdomain": "py", "reftype": "obj", "reftarget": name}
        if match := PAGE.fullmatch(text):
            folder = "auto_examples/" if text.startswith("examples/") else ""
            page = {"refdomain": "std", "reftype": "doc", "refexplicit": True}
            return page | {"reftarget": f"/{folder}{match[1]}"}
        return None


def parents(node):
    """Yield the nodes that contain one, from the inside to the outside."""
    while node.parent is not None:
        node = node.parent
        yield node


def skip_others(app, what, name, member, skip, options):
    """Leave out members of a class that mixexp did not write."""
    member = getattr(member, "fget", member)
    member = inspect.unwrap(getattr(member, "__func__", member))
    module = getattr(member, "__module__", None)
    foreign = what == "class" and not (module or "").startswith("mixexp")
    return True if foreign else skip


def escape_attributes(app, what, name, thing, options, lines):
    """Keep attributes in the types of others, as in `(n_iter_,)`, from being read as links."""
    for i, line in enumerate(lines):
        if re.match(r"\s*\*\*.+\*\* : ", line):
            lines[i] = re.sub(r"(?<=[a-z])_(?=[,)])", r"\_", line)


def link_sklearn(app, env, node, content):
    """Resolve references to scikit-learn by the rule of its addresses, without its inventory."""
    target = node.get("reftarget", "")
    if not target.startswith("sklearn."):
        return None
    address = f"https://scikit-learn.org/stable/modules/generated/{target}.html"
    link = nodes.reference("", "", refuri=address, internal=False)
    link += content
    return link


def setup(app):
    """Connect the parts of this extension."""
    app.add_transform(LinkNames)
    app.connect("autodoc-skip-member", skip_others)
    # after numpydoc, which comes at 500
    app.connect("autodoc-process-docstring", escape_attributes, priority=600)
    app.connect("missing-reference", link_sklearn)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
