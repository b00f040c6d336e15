"""The rule that adds seeds until it is certain, in a grid file: its meaning, and a line for each mistake in it."""

import itertools
import tomllib

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initbench.cli import options
from initbench.errors import UserError
from initbench.spec import grid, gridfile, seed_rule, settings
from initbench.spec.seed_rule import SeedRule

TEXT = "[grid]\ninitializer = ['zeros', 'he_normal']\nseed = {}\n"
VALIDATOR = jsonschema.Draft202012Validator(settings.schema())


def parsed(seed):
    return grid.parse(TEXT.replace("{}", seed))


@pytest.mark.parametrize(
    ("seed", "rule"),
    [
        ("{ until_halfwidth = 0.002 }", SeedRule(0.002, 10, 200)),
        ("{ until_halfwidth = 0.002, min = 5, max = 40 }", SeedRule(0.002, 5, 40)),
        ("{ until_halfwidth = 0.002, max = 7 }", SeedRule(0.002, 7, 7)),
        ("{ until = 'decided' }", SeedRule(None, 5, 200)),
        ("{ until = 'decided', min = 2, max = 3 }", SeedRule(None, 2, 3)),
    ],
)
def test_a_rule_has_defaults_and_its_grid_the_most_seeds(seed, rule):
    parsed_grid = parsed(seed)
    assert parsed_grid.seed_rule == rule
    assert parsed_grid.axes["seed"] == tuple(range(rule.max_seeds))
    assert len(parsed_grid) == len(list(parsed_grid.cells())) == 2 * rule.max_seeds
    fixed = parsed(str(rule.max_seeds))
    assert fixed.seed_rule is None
    assert [cell.id for cell in fixed.cells()] == [cell.id for cell in parsed_grid.cells()]
    instance = tomllib.loads(TEXT.replace("{}", seed))
    assert VALIDATOR.is_valid(instance)


def test_the_shape_names_the_fewest_and_the_most_seeds():
    assert parsed("{ until = 'decided' }").shape == "2 initializers × 5 to 200 seeds"
    assert parsed("{ until = 'decided', max = 5 }").shape == "2 initializers × 5 seeds"


@pytest.mark.parametrize(
    ("seed", "lines"),
    [
        ("{}", ["has no rule; allowed: { until_halfwidth = 0.002"]),
        ("{ min = 5 }", ["has no rule"]),
        ("{ until_half_width = 0.1 }", ["'until_half_width' is an unknown key", "has no rule"]),
        ("{ until = 'decided', until_halfwidth = 0.1 }", ["two rules; keep one"]),
        ("{ until = 'certain' }", ["until = 'certain' is not allowed; allowed: 'decided'"]),
        ("{ until = 'Decided' }", ["allowed: 'decided'; did you mean 'decided'?"]),
        ("{ until = 5 }", ["until = 5 is not allowed"]),
        ("{ until_halfwidth = 0 }", ["until_halfwidth = 0 is not allowed; allowed: a fraction above 0 and below 0.5"]),
        ("{ until_halfwidth = -0.1 }", ["until_halfwidth = -0.1"]),
        ("{ until_halfwidth = 0.5 }", ["0.002, which is 0.2 percentage points"]),
        ("{ until_halfwidth = nan }", ["until_halfwidth = nan"]),
        ("{ until_halfwidth = true }", ["until_halfwidth = True"]),
        ("{ until_halfwidth = '0.1' }", ["until_halfwidth = '0.1'"]),
        ("{ until_halfwidth = 0.1, min = 4 }", ["min = 4 is not allowed; allowed: an integer from 5 up; with fewer"]),
        ("{ until = 'decided', min = 1 }", ["min = 1 is not allowed; allowed: an integer from 2 up"]),
        ("{ until = 'decided', min = 2.0 }", ["min = 2.0 is not allowed"]),
        ("{ until = 'decided', min = 20, max = 10 }", ["min = 20 is above max = 10"]),
        ("{ until = 'decided', max = 1 }", ["max = 1 is not allowed; allowed: an integer from 2 up"]),
        ("{ until = 'decided', max = 'all' }", ["max = 'all' is not allowed"]),
        (
            "{ until = 'x', min = 0, max = 0, more = 1 }",
            ["'more' is an unknown key", "until = 'x'", "max = 0", "min = 0"],
        ),
    ],
)
def test_each_mistake_in_a_rule_is_one_line(seed, lines):
    with pytest.raises(UserError) as error:
        parsed(seed)
    assert len(error.value.lines) == len(lines)
    for line, part in zip(error.value.lines, lines, strict=True):
        assert line.startswith("grid: grid.seed: ")
        assert part in line
    instance = tomllib.loads(TEXT.replace("{}", seed))
    beyond_schemas = any(part in seed for part in ("max = 10", "nan", "2.0"))
    assert VALIDATOR.is_valid(instance) == beyond_schemas


def test_a_number_of_thousands_of_digits_is_a_mistake_of_one_line():
    with pytest.raises(UserError, match="min = a number of thousands of digits is above max = 200"):
        parsed(f"{{ until = 'decided', min = 0x1{5000 * '0'} }}")


VALUES = (
    st.integers()
    | st.floats(allow_subnormal=False)
    | st.booleans()
    | st.sampled_from(["decided", "", [], {}, 5, 200, 0.002, 10**30])
)
KEYS = st.sampled_from(["until_halfwidth", "until", "min", "max"]) | st.text(max_size=4)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_table_is_a_rule_that_can_train_or_has_a_line_for_each_mistake(table):
    rule, lines = seed_rule.parse(table)
    assert (rule is None) == bool(lines)
    assert all(line and "\n" not in line for line in lines)
    if rule:
        assert 2 <= rule.min_seeds <= rule.max_seeds
        assert rule.half_width is None or (0 < rule.half_width < 0.5 and rule.min_seeds >= 5)
        assert seed_rule.parse(rule.table) == (rule, [])
        counts = [rule.min_seeds]
        while counts[-1] < rule.max_seeds and len(counts) < 10:
            counts.append(rule.after(counts[-1]))
        assert all(0 < later - earlier <= 5 for earlier, later in itertools.pairwise(counts))


def test_a_mistake_in_a_rule_stands_beside_the_others():
    with pytest.raises(UserError) as error:
        grid.parse("[grid]\ninitializer = ['zero']\nseed = { until = 'x' }\n[training]\nepochs = 0")
    assert len(error.value.lines) == 3


def test_one_initializer_has_nothing_to_decide():
    with pytest.raises(UserError, match=r"until = 'decided' with one initializer has nothing to decide; add"):
        grid.parse("[grid]\ninitializer = 'zeros'\nseed = { until = 'decided' }")
    assert len(grid.parse("[grid]\ninitializer = 'zeros'\nseed = { until_halfwidth = 0.1 }")) == 200


@pytest.mark.parametrize("most", ["5_000_001", "1" + 40 * "0"])
def test_the_most_cells_of_a_rule_are_limited_before_they_are_listed(most):
    with pytest.raises(UserError, match="allowed: at most 10,000,000"):
        parsed(f"{{ until = 'decided', max = {most} }}")


def test_a_rule_is_set_on_the_command_line_and_in_python():
    in_python = {"seed": {"until": "decided", "max": np.int64(20)}}
    for overrides in (options.pairs(['seed={until="decided", max=20}']), in_python):
        changed = grid.parse(TEXT.replace("{}", "[3, 5]"), overrides=overrides)
        assert changed.seed_rule == SeedRule(None, 5, 20)
        assert grid.parse(changed.text).seed_rule == changed.seed_rule
        assert grid.parse(changed.text, overrides={"seed": 3}).seed_rule is None


def test_a_rule_is_written_as_it_is_read():
    for seed in ("{ until = 'decided', max = 50 }", "{ until_halfwidth = 0.01 }"):
        rule = parsed(seed)
        text = gridfile.to_toml("again", rule.axes, rule.sources, None, rule.seed_rule)
        again = grid.parse(text)
        assert (again.seed_rule, again.axes) == (rule.seed_rule, rule.axes)


def test_a_smoke_test_has_one_seed_and_no_rule(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace("{}", "{ until = 'decided' }"))
    small = grid.read(path, smoke=True)
    assert (small.seed_rule, small.axes["seed"]) == (None, (0,))


def test_a_smoke_test_has_what_the_user_replaces(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace("{}", "5"))
    small = grid.read(path, {"epochs": 4, "seed": 3, "name": "other"}, smoke=True)
    assert (small.axes["epochs"], small.axes["seed"], small.name) == ((4,), (0, 1, 2), "other-smoke")
    assert small.axes["train_size"] == (1280,)
