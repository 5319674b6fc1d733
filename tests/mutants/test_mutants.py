"""The script that puts faults into copies, without a run of tests."""

import ast
import json

from _mutations import drawn, mutants_of
from _record import Record
from check import HERE, NEAR, ROOT, known_equivalents, mutants_within

SOURCE = '''"""A module."""
LIMIT = 48


def f(x: int | None, n_rows=2, *, keep: bool = True) -> float | None:
    """Return ä - b."""
    if n_rows < 3 and not keep:
        raise ValueError("ß: " + str(1 + 1))
    x[0] = np.maximum(x, 0.5, copy=False)
    total = x.sum() * n_rows; total += 1
    return total if x.min() < 0.5 else -total
'''


def test_changes_of_a_function():
    pairs = {(mutant.before, mutant.after) for mutant in mutants_of("f.py", SOURCE)}
    assert pairs == {
        ("2", "3"),
        ("True", "False"),
        ("n_rows < 3 and (not keep)", "n_rows < 3 or not keep"),
        ("n_rows < 3", "n_rows <= 3"),
        ("3", "4"),
        ("not keep", "keep"),
        ("raise ValueError('ß: ' + str(1 + 1))", "pass"),
        ("x[0] = np.maximum(x, 0.5, copy=False)", "pass"),
        ("0", "1"),
        ("np.maximum", "np.minimum"),
        ("0.5", "1.0"),
        ("x.sum() * n_rows", "x.sum() / n_rows"),
        ("x.sum() * n_rows", "x.sum()"),
        ("total += 1", "pass"),
        ("1", "2"),
        ("x.min() < 0.5", "x.min() >= 0.5"),
        ("x.min", "x.max"),
        ("-total", "total"),
    }


def test_a_mutant_differs_by_its_change_alone():
    source = SOURCE.encode()
    for mutant in mutants_of("f.py", SOURCE):
        new = mutant.apply(source)
        tail = len(source) - mutant.stop
        assert new[: mutant.start] == source[: mutant.start]
        assert new[len(new) - tail :] == source[mutant.stop :]
        assert ast.dump(ast.parse(new)) != ast.dump(ast.parse(source))
        assert mutant.line == 1 + source[: mutant.start].count(b"\n")


def test_draws_go_by_the_seed_and_by_groups_in_turn():
    groups = [mutants_of(path, SOURCE) for path in ("f.py", "g.py")]
    chosen = drawn(groups, 11, seed=3)
    assert chosen == drawn(groups, 11, seed=3) != drawn(groups, 11, seed=4)
    assert chosen[:5] == drawn(groups, 5, seed=3)
    assert [mutant.path for mutant in chosen[:4]] == ["f.py", "g.py"] * 2
    assert len(set(drawn(groups, 1000, seed=3))) == sum(map(len, groups))


def test_a_draw_is_kept_where_other_code_changes():
    before = drawn([mutants_of("f.py", SOURCE)], 8, seed=3)
    longer = "def before(x):\n    return x + 1\n\n\n" + SOURCE
    after = drawn([mutants_of("f.py", longer)], 30, seed=3)
    kept = [mutant.change for mutant in after if "before:" not in mutant.change]
    assert kept[:8] == [mutant.change for mutant in before]


def test_places_and_equivalents_exist():
    assert all((ROOT / path).exists() for paths in NEAR.values() for path in paths.split())
    changes = {mutant.change for mutant in mutants_within(ROOT, list(NEAR))}
    known = known_equivalents((HERE / "equivalent.txt").read_text(encoding="utf-8"))
    assert set(known) <= changes
    assert all(known.values())


def test_tests_that_run_a_line_come_by_their_time(tmp_path):
    one, two, last = "tests/a/test_a.py::one", "tests/b.py::two", "tests/a/test_a.py::last"
    seconds = {one: 3.0, two: 2.0, last: 1.0}
    file = tmp_path / "record.json"
    lines = {"f.py": {"4": [0, 1], "5": [0, 2], "7": [1]}}
    file.write_text(json.dumps({"seconds": seconds, "lines": lines}), encoding="utf-8")
    record = Record.read(file)
    assert record.running("f.py", range(4, 6), ["tests"]) == [last, two, one]
    assert record.running("f.py", range(4, 7), ["tests/a", "tests/c.py"]) == [last, one]
    assert record.running("f.py", range(6, 7), ["tests"]) == []
    assert record.running("g.py", range(4, 6), ["tests"]) == []
    assert record.near(["tests/b.py"]) == [two]
    assert record.time_of([one, two]) == 5.0
