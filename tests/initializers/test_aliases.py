"""PyTorch's names of initializers: accepted everywhere, and everywhere replaced by the canonical names."""

import itertools
import json
import math

import jsonschema
import numpy as np
import pytest
from command import ended
from frames import frame_of_grid

import initbench as ib
from initbench.errors import UserError
from initbench.initializers import INITIALIZERS, schemes
from initbench.reporting.page import render
from initbench.spec import grid
from initbench.spec.settings import schema

CANONICAL = {
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
}
SHAPE = (300, 200)

# The parameters with which PyTorch is compared.
XAVIER = [{}, {"gain": 0.5}, {"gain": 5 / 3}]
KAIMING = [
    {"a": a, "mode": mode, "nonlinearity": nonlinearity}
    for mode, (nonlinearity, a) in itertools.product(
        ("fan_in", "fan_out"),
        [(name, 0.0) for name in ("leaky_relu", "relu", "linear", "sigmoid", "tanh", "selu")]
        + [("leaky_relu", 0.2), ("leaky_relu", math.sqrt(5))],
    )
]
CALLS = [(name, keywords) for name in CANONICAL for keywords in (XAVIER if name.startswith("xavier") else KAIMING)]


def text(initializer, more=""):
    return f"[grid]\ninitializer = {json.dumps(initializer)}\nseed = 2\n{more}[model]\nhidden = [9]\n"


@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=str)
def test_an_alias_draws_what_pytorch_draws(name, keywords):
    """Of 60,000 weights the standard deviation is known to 0.3%, and the bound of uniform ones to 0.02%."""
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        W = torch.empty(SHAPE[::-1])
        theirs = getattr(torch.nn.init, f"{name}_")(W, **keywords).numpy()
    ours = getattr(ib.initializers, name)(SHAPE, **keywords, seed=0)
    assert ours.shape == SHAPE
    assert ours.std() == pytest.approx(theirs.std(), rel=0.015)
    if name.endswith("uniform"):
        assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=0.001)
    else:
        assert abs(ours).max() > 3 * ours.std()
    canonical = schemes.resolve({"name": name, **keywords})
    assert np.array_equal(ours, INITIALIZERS.call(canonical, SHAPE, seed=0))


@pytest.mark.parametrize(("alias", "canonical"), CANONICAL.items())
def test_an_alias_is_the_same_cells_as_its_canonical_name(alias, canonical):
    for spelled in (alias, f"{alias}()", {"name": alias}):
        assert schemes.resolve(spelled) == canonical
    ours, theirs = grid.parse(text(alias)), grid.parse(text(canonical))
    assert ours.axes == theirs.axes
    assert [cell.id for cell in ours.cells()] == [cell.id for cell in theirs.cells()]
    assert grid.parse(text("zeros"), overrides={"initializer": alias}).axes == theirs.axes
    by_position = grid.parse(text("zeros"), overrides={"initializer": {"hidden": "zeros", "last": alias}})
    assert by_position.axes["initializer"] == (f"per_layer(first=zeros, hidden=zeros, last={canonical})",)


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("kaiming_normal(nonlinearity='relu')", "he_normal"),
        ("kaiming_normal(mode='fan_out')", "variance_scaling(scale=2.0, mode='fan_out', distribution='normal')"),
        ("xavier_normal(gain=2)", "variance_scaling(scale=4.0, mode='fan_avg', distribution='normal')"),
        ({"name": "xavier_uniform", "gain": 1}, "glorot_uniform"),
    ],
)
def test_other_parameters_are_those_of_variance_scaling(spelled, canonical):
    assert schemes.resolve(spelled) == canonical


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("kaiming_norml", "unknown initializer 'kaiming_norml'; .*did you mean 'kaiming_normal'?"),
        ("kaiming_normal_", "unknown initializer 'kaiming_normal_'; .*did you mean 'he_normal'?"),
        ("kaiming_normal(gain=1.0)", "kaiming_normal has no parameter 'gain'; it takes a, mode, nonlinearity"),
        ("kaiming_normal(mode='fan_avg')", "kaiming_normal: mode = 'fan_avg'; allowed: one of 'fan_in', 'fan_out'"),
        (
            "kaiming_uniform(nonlinearity='gelu')",
            "kaiming_uniform: nonlinearity = 'gelu'; allowed: one of 'leaky_relu'",
        ),
        ("kaiming_uniform(a=0.2, nonlinearity='tanh')", "kaiming_uniform: a = 0.2; allowed: 0, unless"),
        ("xavier_normal(gain=0)", "xavier_normal: gain = 0.0; allowed: above 0"),
        ("xavier_normal(gain=-1)", "xavier_normal: gain = -1.0; allowed: above 0"),
        ("xavier_normal(gain=1e200)", "variance_scaling: scale = inf; allowed: a finite number"),
        ("kaiming_normal(a=1e200)", ".*: scale = 0.0; allowed: above 0"),
    ],
)
def test_what_pytorch_does_not_mean_is_one_line(spelled, message):
    with pytest.raises(UserError, match=f"^grid: grid.initializer: {message}".replace("(", r"\(")) as mistake:
        grid.parse(text(spelled))
    assert len(mistake.value.lines) == 1


def test_an_alias_beside_its_canonical_name_is_the_same_value_twice():
    with pytest.raises(UserError) as mistake:
        grid.parse(text(["xavier_uniform", "zeros", "glorot_uniform"]))
    assert mistake.value.lines == (
        "grid: grid.initializer: 'glorot_uniform' (also named xavier_uniform) is on this axis more than once; "
        "allowed: each value once",
    )


def test_an_alias_of_weights_fills_no_bias():
    with pytest.raises(UserError, match=r"^grid: model.bias_initializer: he_normal is not a bias initializer"):
        grid.parse(text("zeros") + "bias_initializer = 'kaiming_normal'\n")


def test_the_schema_of_the_grid_file_has_the_aliases_with_their_parameters():
    validator = jsonschema.Draft202012Validator(schema())
    for value in (*CANONICAL, "kaiming_normal(a=0.1)", {"name": "xavier_normal", "gain": 2.0}):
        validator.validate({"grid": {"initializer": [value]}})
    assert not validator.is_valid({"grid": {"initializer": [{"name": "xavier_normal", "mode": "fan_in"}]}})


def test_tables_and_pages_have_the_canonical_name(without_figures):
    parsed = grid.parse(text(["xavier_uniform", "zeros"]), overrides={"activation": ["tanh", "relu"]})
    frame = frame_of_grid(parsed)
    assert set(frame["initializer"]) == {"glorot_uniform", "zeros"}
    before_the_grid, _, grid_text = render(frame, parsed, [], "initbench run x.toml").partition('id="reproduce"')
    assert "glorot_uniform" in before_the_grid
    assert "xavier" not in before_the_grid
    assert "xavier_uniform" in grid_text  # the file as it was written


def test_list_and_show_have_the_alias_beside_its_canonical_name(tmp_path, monkeypatch, capsys):
    _, out, _ = ended(None, capsys, "list", "initializers")
    for alias, canonical in CANONICAL.items():
        entry = out.partition(f"\n  {canonical}\n")[2].splitlines()[1]
        assert entry == f"      Also {INITIALIZERS.aliases[alias].signature}, as in PyTorch."
    monkeypatch.chdir(tmp_path)
    status, out, _ = ended(None, capsys, "show", "xavier_uniform(gain=2.0)", "--shape", "30,20")
    assert status == 0
    assert out.startswith("variance_scaling(scale=4.0, mode='fan_avg', distribution='uniform'), 30 × 20: ")
    assert (tmp_path / "xavier_uniform-30x20.png").is_file()


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="registered as he_normal already"):
        INITIALIZERS.alias("zeros", dict)(ib.initializers.he_normal)
