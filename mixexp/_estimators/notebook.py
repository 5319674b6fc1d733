"""What notebooks show of a mixture: scikit-learn's boxes, with gate and experts as children."""

from __future__ import annotations

from typing import Any

from mixexp._compat import VisualBlock
from mixexp.experts import named

__all__ = ["PAGES", "visual_block"]

#: Where the page of a class is, as scikit-learn asks of libraries (`_doc_link_template`).
PAGES = "https://mixexp.github.io/mixexp/api/generated/{estimator_module}.{estimator_name}.html"

#: Experts that get a box; of more, a last box says how many there are.
SHOWN = 12


def visual_block(mixture: Any) -> Any:
    """Return the boxes of a mixture: of its fitted parts, or else of its parameters.

    What stands before the colon of a name is what nested parameters begin with.
    """
    fitted = hasattr(mixture, "experts_")
    parts = [("gate", mixture.gate_ if fitted else mixture.gate), *_experts(mixture)]
    for name in ("shared_expert", "routing"):
        part = getattr(mixture, f"{name}_", None) if fitted else getattr(mixture, name)
        if part is not None:
            parts.append((name, part))
    return VisualBlock(
        "parallel",
        ["default" if part is None else part for _, part in parts],
        names=[f"{name}: {_kind(part)}" for name, part in parts],
        name_details=[str(part) for _, part in parts],
        dash_wrapped=True,
    )


def _experts(mixture: Any) -> list[tuple[str, Any]]:
    """Return the experts with the names of their parameters, or how many are of one kind."""
    several = isinstance(mixture.expert, list | tuple)
    templates = named(mixture.expert) if several else [("", mixture.expert)]
    names = [f"expert__{name}" if name else "expert" for name, _ in templates]
    experts = getattr(mixture, "experts_", None)
    if experts is None:
        return list(zip(names, [part for _, part in templates], strict=True))
    if len(names) != len(experts):  # of one template, or some were dropped
        names = ["expert"] * len(experts)
    pairs = list(zip(names, experts, strict=True))
    left = len(pairs) - SHOWN
    return pairs if left <= 0 else [*pairs[:SHOWN], ("expert", f"and {left} more")]


def _kind(part: Any) -> str:
    if part is None:
        return "default"
    return part if isinstance(part, str) else type(part).__name__
