"""Parts that wrap other parts answer every capability: they define it, hand it on, or hide it."""

import pytest
from numpy.testing import assert_array_equal

from mixexp._engine.guard import overshoots, retreats
from mixexp.experts import ComponentBank, FallbackBank, NoiseBank, SharedBank
from mixexp.gates import HierarchicalGate, NestedGate, NoiseGate, SoftmaxGate
from mixexp.gates._balanced import BalancedGate
from mixexp.gates._tree import TreeGate
from mixexp.protocols import CAPABILITIES, Capability, Forward, Hidden, Rows, can, if_inner_can
from mixexp.routing import RoutedGate, TopK

GATES = [NoiseGate, BalancedGate, RoutedGate, HierarchicalGate, NestedGate]
BANKS = [NoiseBank, FallbackBank, SharedBank, ComponentBank]


def unanswered(wrapper, kind, table=CAPABILITIES):
    """Return the capabilities of a kind of part that a class says nothing of."""
    said = {name for base in wrapper.__mro__[:-1] for name in vars(base)}
    return sorted(
        name for name, of in table.items() if of.of in ("part", kind) and name not in said
    )


@pytest.mark.parametrize(
    ("wrapper", "kind"),
    [*((g, "gate") for g in GATES), *((b, "bank") for b in BANKS)],
)
def test_wrappers_answer_every_capability(wrapper, kind):
    assert not unanswered(wrapper, kind)
    table = CAPABILITIES | {"brand_new": Capability("part", "nobody has heard of it")}
    assert unanswered(wrapper, kind, table) == ["brand_new"]
    assert not hasattr(wrapper, "__getattr__")


def test_capabilities_say_whose_and_what_for():
    assert {of for of, _ in CAPABILITIES.values()} == {"part", "gate", "bank"}
    assert all(purpose.endswith(".") for _, purpose in CAPABILITIES.values())


class Wrapper:
    coef_ = Forward()
    depth = Hidden()

    def __init__(self, inner):
        self.inner = inner

    @if_inner_can("select")
    def select(self, experts):
        return self.inner.select(experts)


class Plain:
    coef_ = 2.0
    depth = 3

    def select(self, experts):
        return experts


def test_a_wrapper_can_what_the_inner_part_can():
    wrapper = Wrapper(Plain())
    assert can(wrapper, "coef_", "select") and not can(wrapper, "depth")
    assert wrapper.coef_ == 2.0 and wrapper.select([1]) == [1]
    assert not can(Wrapper(object()), "coef_") and not can(Wrapper(object()), "select")
    with pytest.raises(AttributeError, match="Wrapper has no depth"):
        _ = wrapper.depth


def test_noise_around_a_bare_gate_has_no_more_than_that_gate(rng):
    class Bare:
        monotone = True
        log_prob = statistics = update = None

    gate = NoiseGate(Bare(), 0.1)
    lacks = ("gram_weights", "toward", "select", "n_parameters", "coef_", "measured", "finished")
    assert not any(can(gate, name) for name in lacks)
    rows = Rows(rng.standard_normal((30, 2)), training=True)
    rich = NoiseGate(SoftmaxGate().start(rows, 3, None), 0.1)
    assert can(rich, "gram_weights", "toward", "select", "n_parameters", "coef_")
    assert not can(rich, "measured") and not can(rich, "finished")
    assert_array_equal(rich.select([2, 0, 3]).coef_.shape, (2, 2))


class ClosedForm(Plain):
    """A part that has `toward` and `damped`, and whose step they leave as it is."""

    monotone = True
    usage = None

    def toward(self, new, t):
        return new

    def damped(self, new):
        return self


WRAPPED = {
    "noise gate": lambda inner: NoiseGate(inner, 0.1),
    "usage prior": lambda inner: BalancedGate(inner, 1.0),
    "tree": lambda inner: TreeGate([(0,), (1,)], {(): inner}),
    "routed gate": lambda inner: RoutedGate(inner, TopK(1)),
    "noise bank": lambda inner: NoiseBank(inner, 0.0, None, None),
    "fallback bank": lambda inner: FallbackBank(inner, None, None),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_the_step_of_a_wrapped_closed_form_has_no_shorter_one(wrap):
    old, new = wrap(ClosedForm()), wrap(ClosedForm())
    assert old.toward(new, 0.5) is new and old.damped(new) is old
    assert not overshoots(old, new)


def test_damping_alone_says_whether_a_step_can_be_shortened():
    class NewObject(ClosedForm):
        """Its `toward` gives a copy."""

        def toward(self, new, t):
            return NewObject()

    old, new = NewObject(), NewObject()
    assert not overshoots(old, new)
    assert list(retreats(old, new, None, None)) == []
