"""The grid file: all mistakes are reported together, one line each; the meaning of a valid file."""

import codecs
import json
import tomllib

import hypothesis
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watch import limited

from initbench.cli import options
from initbench.errors import UserError
from initbench.spec import grid, gridfile, presets, settings

VALID = """
[grid]
initializer = ["zeros", "he_normal"]
activation = ["tanh", "relu"]
seed = 2
"""


def mistakes(text, **keywords):
    with pytest.raises(UserError) as error:
        grid.parse(text, origin="g.toml", **keywords)
    for line in error.value.lines:
        assert line.startswith("g.toml: ")
        assert "\n" not in line
    return [line.removeprefix("g.toml: ") for line in error.value.lines]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[grid]\ninitializer = ['zeros']\n[training]\nepoch = 1", ["training.epoch", "unknown key", "did you mean 'epochs'"]),
        ("[grid]\ninitialiser = ['zeros']", ["grid.initialiser", "did you mean 'initializer'"]),
        ("nam = 'x'\n[grid]\ninitializer = ['zeros']", ["nam: unknown key", "did you mean 'name'"]),
        ("[grid]\ninitializer = ['he_norml']", ["grid.initializer[0]", "'he_norml'", "did you mean 'he_normal'"]),
        ("[grid]\ninitializer = [{ name = 'normal', sdt = 1 }]", ["'sdt'", "takes mean, std", "did you mean 'std'"]),
        ("[grid]\ninitializer = [{ name = 'normal', std = -1 }]", ["std = -1.0", "allowed: 0 or more"]),
        ("[grid]\ninitializer = [{ name = 'normal', std = nan }]", ["std = nan", "finite"]),
        ("[grid]\ninitializer = [{ name = 'normal', std = '1' }]", ["std = '1'", "finite number"]),
        ("[grid]\ninitializer = [{ name = 'uniform', low = 1, high = 0 }]", ["low = 1.0", "high = 0.0"]),
        ("[grid]\ninitializer = [{ std = 1 }]", ["without a name"]),
        ("[grid]\ninitializer = [{ name = 'variance_scaling', mode = 'fanin' }]", ["'fanin'", "did you mean 'fan_in'"]),
        ("[grid]\ninitializer = []", ["grid.initializer", "an empty axis"]),
        ("[grid]\nseed = 1", ["grid.initializer is missing"]),
        ("[grid]\ninitializer = ['zeros', 'zeros']", ["'zeros'", "more than once"]),
        ("[grid]\ninitializer = ['normal', { name = 'normal', std = 0.05 }]", ["'normal(std=0.05)'", "more than once"]),
        ("[grid]\ninitializer = ['zeros']\nlearning_rate = [0.1, 0.1]", ["grid.learning_rate: 0.1", "more than once"]),
        ("[grid]\ninitializer = ['zeros']\nseed = 0", ["grid.seed = 0", "count of seeds from 1 up"]),
        ("[grid]\ninitializer = ['zeros']\nseed = [-1]", ["grid.seed[0] = -1"]),
        ("[grid]\ninitializer = ['zeros']\nseed = true", ["grid.seed = True"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nepochs = 0", ["training.epochs = 0", "from 1 to 100,000"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nepochs = 1.5", ["training.epochs = 1.5", "an integer from"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nbatch_size = 55001", ["batch_size = 55001", "at most 55000"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\ntrain_size = 100", ["batch_size = 128", "at most 100"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\ntrain_size = 60000", ["train_size = 60000", "at most 55000"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlearning_rate = nan", ["learning_rate = nan", "above 0"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlearning_rate = inf", ["learning_rate = inf"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlr_decay = 1.0", ["lr_decay = 1.0", "below 1"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlr_schedule = 'constnt'", ["'constnt'", "did you mean 'constant'"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nhidden = [0]", ["model.hidden = [0]", "widths from 1"]),
        ("[grid]\ninitializer = ['zeros']\nhidden = [128, 128]", ["grid.hidden", "a list of such lists: [[128, 128]]"]),
        ("[grid]\ninitializer = ['zeros']\nactivation = 'softmax'", ["softmax is an output activation", "hidden = [128]"]),
        ("[grid]\ninitializer = ['zeros']\nactivation = ['tanh', 'relu']\n[model]\nhidden = []", ["2 activations", "same cell"]),
        (
            "[grid]\ninitializer = ['zeros']\nactivation = ['tanh']\noutput_activation = ['same', 'tanh']",
            ["'tanh' beside 'same'", "same cell twice"],
        ),
        ("name = '../out'\n[grid]\ninitializer = ['zeros']", ["name = '../out'", "letters, digits"]),
        ("name = '/tmp/x'\n[grid]\ninitializer = ['zeros']", ["name = '/tmp/x'"]),
        ("name = '.'\n[grid]\ninitializer = ['zeros']", ["name = '.'"]),
        ("name = 'asv'\n[grid]\ninitializer = ['zeros']", ["'asv' is reserved"]),
        ("name = 'example-keepcoding'\n[grid]\ninitializer = ['zeros']", ["is reserved"]),
        ("equivalent_within = 0\n[grid]\ninitializer = ['zeros']", ["equivalent_within = 0 is", "percentage points above 0"]),
        ("equivalent_within = true\n[grid]\ninitializer = ['zeros']", ["equivalent_within = True", "percentage points"]),
        ("equivalent_within = inf\n[grid]\ninitializer = ['zeros']", ["equivalent_within = inf", "up to 100"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nequivalent_within = 0.2", ["training.equivalent_within: does not belong here", "at the top"]),
        ("equivalent_withn = 0.2\n[grid]\ninitializer = ['zeros']", ["did you mean 'equivalent_within'"]),
        ("name = '<script>'\n[grid]\ninitializer = ['zeros']", ["name = '<script>'"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\ndataset = 'mnist'", ["model.dataset: does not belong here", "at the top"]),
        ("[grid]\ninitializer = ['normal(std=0.2)(std=3)']", ["'normal(std=0.2)(std=3)'", "a string such as"]),
        ("[grid]\ninitializer = ['normal(junk)(std=3)']", ["'normal(junk)(std=3)'"]),
        ("[grid]\ninitializer = [{ name = 'normal', std = 1" + "0" * 400 + " }]", ["finite number"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlr_decay = 0x" + "F" * 5000, ["a number of thousands of digits"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\nlr_decay = 1" + "0" * 5000, ["invalid TOML"]),
        ("dataset = { idx = '~no-such-user-/x' }\n[grid]\ninitializer = ['zeros']", ["~no-such-user-/x"]),
        ("dataset = { idx = '" + "x" * 300 + "' }\n[grid]\ninitializer = ['zeros']", ["no such folder"]),
        ("[grid]\ninitializer = ['kaiming_uniform_']", ["did you mean 'he_uniform'"]),
        ("[grid]\ninitializer = ['zeros']\nlr = 0.1", ["did you mean 'learning_rate'"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nactivation = ['tanh', 'relu']", ["a list is an axis and goes in [grid]"]),
        ("[grid]\ninitializer = [zeros]", ["invalid TOML", "names are written in quotes"]),
        ("[grid]\ninitializer = ['zeros']\nhidden = []", ["grid.hidden: an empty axis", "[[]]"]),
        ("[grid]\ninitializer = ['zeros']\noutput_activation = 'sam'", ["did you mean 'same'"]),
        ("grid = 3", ["grid = 3", "a table, [grid]"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nepochs = 3", ["model.epochs: does not belong here", "[training]"]),
        ("[grid]\ninitializer = ['zeros']\nepochs = [1]\n[training]\nepochs = 2", ["training.epochs: given here and as grid.epochs"]),
        ("dataset = 'mnst'\n[grid]\ninitializer = ['zeros']", ["'mnst'", "did you mean 'mnist'"]),
        ("dataset = { idx = '/none' }\n[grid]\ninitializer = ['zeros']", ["/none: no such folder"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nbias_initializer = 'he_normal'", ["he_normal is not a bias initializer", "zeros"]),
        ("[grid]\ninitializer = ['dirac']", ["dirac fits convolutions", "the first layer is 784 × 128"]),
        ("[grid]\ninitializer = ['random_walk']\n[model]\nactivation = 'gelu'", ["'random_walk'", "'gelu'", "allowed: identity, relu, tanh"]),
        ("[grid]\ninitializer = ['edge_of_chaos']\n[model]\nactivation = 'softplus'", ["no critical point"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nactivation = 'softplus'\nbias_initializer = 'edge_of_chaos'", ["bias_initializer", "no critical point"]),
        ("[grid]\ninitializer = [{ hidden = 'lsuv' , last = 'zeros' }]", ["hidden: lsuv fills whole networks", "cannot stand in a position"]),
        ("[grid]\ninitializer = [{ last = 'zeros' }]", ["`hidden` is missing"]),
        ("[grid]\ninitializer = [{ hidden = 'zeros', lst = 'ones' }]", ["there is no position 'lst'", "did you mean 'last'"]),
        ("[grid]\ninitializer = [{ hidden = 'zeros', last = 'ons' }]", ["last: unknown single-layer initializer 'ons'", "did you mean 'ones'"]),
        ("[grid]\ninitializer = ['per_layer(hidden=)']", ["per_layer(first=…, hidden=…, last=…)"]),
        ("[grid]\ninitializer = [{ name = 'lsuv', tolerance = 0 }]", ["tolerance = 0.0", "above 0"]),
        ("[grid]\ninitializer = [{ name = 'metainit', rate = 0 }]", ["metainit(rate=0.0): rate = 0.0", "above 0"]),
        ("[grid]\ninitializer = [{ name = 'gradinit', gama = 2 }]", ["gradinit has no parameter 'gama'", "did you mean 'gamma'"]),
        ("[grid]\ninitializer = [{ name = 'dks', distribution = 'othogonal' }]", ["'othogonal'", "did you mean 'orthogonal'"]),
        ("[grid]\ninitializer = [{ name = 'normal', std = 1e300 }]", ["normal(std=1e+300)", "too large", "float32"]),
        ("[grid]\ninitializer = [{ name = 'pca', beta = 1e300 }]", ["beta = 1e+300", "from −1000 to 1000"]),
        ("[grid]\ninitializer = [{ name = 'lsuv', batches = 1000000 }]", ["batches = 1000000", "from 1 to 1000"]),
        ("[grid]\ninitializer = ['kumar']\n[model]\nactivation = { name = 'softplus', beta = 1e-200 }", ["kumar", "no finite value"]),
        ("[grid]\ninitializer = ['normal(std=1, std=2)']", ["given 'normal(std=1, std=2)'"]),
        ("[grid]\ninitializer = ['per_layer(hidden=zeros, hidden=ones)']", ["per_layer(first=…, hidden=…, last=…)"]),
        ("[grid]\ninitializer = [{ hidden = 'he_normal', last = 'normal(std=-1)' }]", ["normal(std=-1.0): std = -1.0"]),
        ("[grid]\ninitializer = ['within_layer']\nbias_initializer = ['zeros', 'ones']", ["the same cell 2 times", "sets the biases itself"]),
        ("[grid]\ninitializer = ['HeNormal']", ["did you mean 'he_truncated_normal'"]),
        ("[grid]\ninitializer = ['dks']\n[model]\nactivation = 'relu'", ["'dks'", "activation = 'relu'", "not linear in pieces"]),
        ("[grid]\ninitializer = ['dks']\n[model]\nactivation = 'elu'\nhidden = [64]", ["slope = 1.5 and 1 hidden layers", "another number of hidden layers"]),
        ("[grid]\ninitializer = ['zeros']\n[model]\nbias_initializer = 'gpt2'", ["gpt2 is not a bias initializer"]),
        ("[grid]\ninitializer = [{ hidden = 'metainit' }]", ["hidden: metainit fills whole networks"]),
        ("[grid]\ninitializer = ['zeros', { hidden = 'ones', last = 'zeros' }]\n[model]\nhidden = []", ["would be the same cell as 'zeros'"]),
        ("[grid]\ninitializer = ['zeros']\nloss = [{ name = 'huber', delta = 0 }]", ["delta = 0.0", "above 0"]),
        ("[grid]\ninitializer = ['zeros']\n[training]\noptimizer = { name = 'adam', beta1 = 1 }", ["beta1 = 1.0"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_value_and_what_is_allowed(text, parts):
    (line,) = mistakes(text)
    for part in parts:
        assert part in line


def test_all_mistakes_are_reported_together():
    both = mistakes("[grid]\ninitializer = ['zeroes']\nactivation = ['tanh', 'relu']\n[model]\nhidden = []")
    assert ["'zeroes'" in both[0], "same cell" in both[1], len(both)] == [True, True, 2]
    bare = "[grid]\ninitializer = ['zeros', 'zeros']\nepochs = 0\nseed = [1, 1]\nbatch_size = [128, 99999]"
    parts = ("grid.epochs = 0", "'zeros' is on", "seed: 1 is on", "batch_size = 99999")
    lines = mistakes(bare)
    assert len(lines) == 4
    assert all(any(part in line for line in lines) for part in parts)
    lines = mistakes(
        """
        name = "a/b"
        [grid]
        initializer = ["he_norml", "zeros", "zeros"]
        seed = 0
        [model]
        hidden = [-1]
        [training]
        epoch = 3
        batch_size = 99999
        """
    )
    for part in (
        "name = 'a/b'",
        "he_norml",
        "'zeros'",
        "seed = 0",
        "hidden = [-1]",
        "epoch:",
        "batch_size = 99999",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 7


def test_invalid_toml_is_reported_with_line_and_column():
    (line,) = mistakes("[grid]\ninitializer = [")
    assert "invalid TOML" in line
    assert "line 2, column" in line


def test_paths_that_are_not_grid_files_are_rejected(tmp_path):
    for path, part in ((tmp_path / "no.toml", "No such file"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=part):
            grid.read(path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(UserError, match="not UTF-8"):
        grid.read(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_ignored(tmp_path):
    text = '# a comment\nname = "mine"\n[grid]\ninitializer = "zeros"\n'
    (tmp_path / "plain.toml").write_text(text)
    (tmp_path / "marked.toml").write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    plain, marked = grid.read(tmp_path / "plain.toml"), grid.read(tmp_path / "marked.toml", {"name": "mine"})
    assert list(plain.cells()) == list(marked.cells())
    assert grid.parse("\ufeff" + text) == plain
    assert (plain.name, marked.name, "\ufeff" in marked.text) == ("mine", "mine", False)
    assert options.pair("\ufeffseed=3") == ("seed", 3)
    for encoding in ("utf-16", "utf-16-be", "utf-32"):
        (tmp_path / "wide.toml").write_bytes(
            "\ufeff".encode(encoding) * (encoding == "utf-16-be") + text.encode(encoding)
        )
        with pytest.raises(UserError) as error:
            grid.read(tmp_path / "wide.toml")
        assert error.value.lines == (f"{tmp_path / 'wide.toml'}: is UTF-16 or UTF-32 text; save it as UTF-8",)


def test_a_grid_of_10_to_the_12_is_rejected_quickly():
    rates = list(range(1, 10001))
    text = f"[grid]\ninitializer = ['zeros']\nlearning_rate = {rates}\nbatch_size = {rates}\nseed = 10000"
    with limited():
        (line,) = mistakes(text)
    assert "1,000,000,000,000 cells" in line
    assert "at most 10,000,000" in line


def test_a_bare_value_is_an_axis_of_one_and_a_count_is_seeds_from_0():
    parsed = grid.parse("[grid]\ninitializer = 'zeros'\nseed = 3\nhidden = [[], [8, 4]]\noutput_activation = 'same'")
    assert parsed.axes["initializer"] == ("zeros",)
    assert parsed.axes["seed"] == (0, 1, 2)
    assert parsed.axes["hidden"] == ("", "8-4")
    assert len(parsed) == len(list(parsed.cells())) == 6


def test_cells_are_resolved_and_their_ids_depend_on_the_specification_alone():
    text = VALID + "output_activation = 'same'"
    cells = list(grid.parse(text).cells())
    assert [c.output_activation for c in cells] == [c.activation for c in cells]
    assert {c.train_size for c in cells} == {55000}
    again = {c.id for c in grid.parse(text + "\nloss = ['cross_entropy', 'mse']\n").cells()}
    assert {c.id for c in cells} < again
    assert len({c.id for c in cells}) == 8


def test_every_spelling_of_an_initializer_is_one_cell():
    spellings = [
        "'normal(std=0.2)'",
        "{ name = 'normal', std = 0.2 }",
        "{ name = 'normal', std = 0.2, mean = 0 }",
    ]
    ids = {next(grid.parse(f"[grid]\ninitializer = [{s}]").cells()).id for s in spellings}
    assert len(ids) == 1


def test_every_spelling_of_a_per_layer_scheme_is_one_cell():
    table = {"hidden": "he_normal", "last": {"name": "normal", "std": 0.01}}
    text = "per_layer(first=he_normal, hidden=he_normal, last=normal(std=0.01))"
    parsed = [grid.parse(VALID, overrides={"initializer": [spelling]}) for spelling in (table, text)]
    assert parsed[0].axes["initializer"] == parsed[1].axes["initializer"] == (text,)
    again = grid.parse(gridfile.to_toml("x", parsed[0].axes, parsed[0].sources))
    assert [c.id for c in again.cells()] == [c.id for c in parsed[0].cells()]
    alike = grid.parse(VALID, overrides={"initializer": [{"hidden": "zeros", "last": "zeros"}]})
    assert alike.axes["initializer"] == ("zeros",)


def test_a_bias_initializer_is_an_axis_with_tables_and_layer_positions():
    text = """
        [grid]
        initializer = ["he_normal", "lsuv"]
        bias_initializer = ["zeros", { name = "normal", std = 0.05 }, { hidden = "ones", last = "zeros" }]
        seed = 1
        """
    cells = list(grid.parse(text).cells())
    assert [c.bias_initializer for c in cells[:3]] == [
        "zeros", "normal(std=0.05)", "per_layer(first=ones, hidden=ones, last=zeros)"
    ]  # fmt: skip
    assert len({c.id for c in cells}) == 6


def test_a_large_bias_variance_is_taken_where_the_activation_ignores_it():
    text = "[grid]\ninitializer = [{ name = 'edge_of_chaos', bias_variance = 20000.0 }]\n[model]\nactivation = 'relu'"
    assert len(grid.parse(text)) == 5


def test_minus_zero_is_zero():
    ids = {next(grid.parse(f"{VALID}lr_decay = {zero}").cells()).id for zero in ("0.0", "-0.0", "0")}
    assert len(ids) == 1


def test_an_override_may_be_a_table_and_is_refused_where_toml_cannot_say_it(tmp_path):
    from idx import write_folder

    folder = write_folder(tmp_path / "tiny", images=2400, labels=2400)
    for overrides in ({"dataset": {"idx": str(folder)}}, {"dataset": [{"idx": str(folder)}, "mnist"]}):
        changed = grid.parse(
            "name = 'kept'\n" + VALID, overrides={**overrides, "optimizer": {"name": "adam", "beta1": 0.5}}
        )
        assert changed.name == "kept"
        assert changed.axes["dataset"][0].startswith("tiny@")
        assert changed.axes["optimizer"] == ("adam(beta1=0.5)",)
    for wrong in ({"epochs": None}, {"epochs": object()}):
        with pytest.raises(UserError, match="a value that TOML supports"):
            grid.parse(VALID, overrides=wrong)
    with pytest.raises(UserError) as error:
        grid.parse(VALID, overrides={"epochz": 2, "sed": 1})
    assert ["epochz" in error.value.lines[0], "sed" in error.value.lines[1], len(error.value.lines)] == [True, True, 2]
    with pytest.raises(UserError, match="unknown setting"):
        grid.parse(VALID, overrides={"nonsense.seed": 2})
    assert grid.parse(VALID, overrides={"grid.seed": 3}).axes["seed"] == (0, 1, 2)


@pytest.mark.parametrize("examples", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_any_document_is_a_grid_or_a_mistake(examples):
    hypothesis.settings(max_examples=examples)(given(data=st.data())(read_any_document))()


def read_any_document(data):
    """Random values in random places of a grid file: a grid, or lines of mistakes, and nothing else."""
    import tomlkit

    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=8)
    scalars |= st.sampled_from(
        ["zeros", "relu", "softmax", "normal(std=1)", "normal(", "same", "mse", "mnist", {"name": "normal"}]
    )
    value = st.recursive(
        scalars.filter(lambda v: v is not None),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "std", "idx", "x"]), inner, max_size=2)
        ),
        max_leaves=6,
    )
    keys = st.sampled_from([*settings.RULES, "epoch", "name", "grid", ""])
    document = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                s: st.dictionaries(keys, value, max_size=4) | value
                for s in (*settings.SECTIONS, "name", "dataset", "equivalent_within", "x")
            },
        )
    )
    try:
        text = tomlkit.dumps(document)
    except (ValueError, TypeError):
        return
    try:
        count = len(grid.parse(text))
        lines = ("one",)
    except UserError as error:
        count, lines = 0, error.lines
    assert count or lines
    assert all(line and "\n" not in line for line in lines)


def test_overrides_replace_keep_comments_and_move_lists_to_the_axes():
    changed = grid.parse(
        presets.text("keepcoding"),
        overrides={"seed": 2, "epochs": [1, 2], "activation": "tanh", "hidden": [[16], []]},
    )
    assert (len(changed.axes["seed"]), changed.axes["epochs"]) == (2, (1, 2))
    assert changed.axes["activation"] == ("tanh",)
    assert changed.axes["hidden"] == ("16", "")
    assert "# One difference from the article" in changed.text
    assert grid.parse(changed.text).axes == changed.axes
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        grid.parse(VALID, overrides={"epoch": 2})


def test_what_counts_as_equivalent_is_declared_at_the_top_and_changes_no_cell():
    without = grid.parse(VALID)
    assert without.equivalent_within is None
    declared = grid.parse("equivalent_within = 0.5\n" + VALID)
    replaced = grid.parse(declared.text, overrides={"equivalent_within": 1})
    assert (declared.equivalent_within, replaced.equivalent_within) == (0.5, 1.0)
    assert grid.parse(replaced.text).equivalent_within == 1.0
    assert [c.id for c in declared.cells()] == [c.id for c in without.cells()] == [c.id for c in replaced.cells()]
    with pytest.raises(UserError, match=r"equivalent_within = \[0.2\] is not allowed; allowed: a number of percentage"):
        grid.parse(VALID, overrides={"equivalent_within": [0.2]})


def test_a_written_grid_means_the_same():
    for name in presets.names():
        parsed = grid.parse(presets.text(name))
        again = grid.parse(gridfile.to_toml("x", parsed.axes, parsed.sources, 0.3))
        assert (again.axes, again.equivalent_within) == (parsed.axes, 0.3)
        assert [c.id for c in again.cells()] == [c.id for c in parsed.cells()]


def test_the_schema_takes_what_is_valid_and_refuses_what_is_not():
    schema = json.loads(json.dumps(settings.schema()))
    assert set(schema["$defs"]["grid"]["properties"]) == set(settings.RULES)
    assert schema["$defs"]["training"]["properties"]["epochs"]["default"] == 10
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    valid = [tomllib.loads(presets.text(name)) for name in presets.names()]
    axes = {"initializer": "normal(std=0.2)", "seed": [0, 7], "hidden": [[], [8, 4]], "epochs": 3}
    valid.append(
        {"grid": axes, "model": {"bias_initializer": "ones"}, "dataset": {"idx": "x"}, "equivalent_within": 0.2}
    )
    in_file = {"name": "my_models.py:build", "units": 3}
    valid.append({"grid": {"model": ["lenet5", in_file]}, "dataset": "my_data.py:load"})
    valid.append({"plugins": ["x.py"], "model": {"model": "build"}, "dataset": {"name": "load", "n": 3}})
    for document in valid:
        validator.validate(document)
    for wrong in (
        {"model": {"model": "build"}},
        {"dataset": "load"},
        {"grid": {"initializer": ["he_norml"]}},
        {"grid": {"seed": 0}},
        {"grid": {"hidden": [8]}},
        {"grid": {"epochs": []}},
        {"training": {"epochs": [1]}},
        {"training": {"epoch": 1}},
        {"equivalent_within": 0},
        {"grid": {"initializer": [{"name": "normal", "sdt": 1}]}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


def test_the_designs_grid_file_is_the_preset():
    document = tomllib.loads(presets.text("keepcoding"))
    assert (document["name"], document["dataset"]) == ("keepcoding", "mnist")
    assert document["grid"] == {
        "initializer": [
            {"name": "truncated_normal", "std": 1.0},
            {"name": "normal", "std": 0.2},
            {"name": "uniform", "low": -0.2, "high": 0.2},
            "zeros",
            "glorot_uniform",
            "lecun_normal",
        ],
        "activation": ["tanh", "sigmoid", "relu", "softmax"],
        "loss": ["mse", "cross_entropy"],
        "seed": 5,
    }
    assert document["training"] == {
        "optimizer": "sgd", "learning_rate": 0.1, "lr_schedule": "constant", "lr_decay": 1e-3, "batch_size": 128,
        "epochs": 10,
    }  # fmt: skip
    assert document["model"] == {"hidden": [], "output_activation": "same", "bias_initializer": "ones"}
