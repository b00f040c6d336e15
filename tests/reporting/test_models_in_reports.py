"""What people read about networks beyond the perceptron, their data and their training."""

import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from command import ended
from frames import frame_of_grid
from page import Page

from initbench.models.architecture import Architecture, Layer
from initbench.models.own import add
from initbench.reporting import networks, page
from initbench.reporting.answers import answers, title, warnings
from initbench.reporting.cautions import cautions
from initbench.reporting.evidence import Evidence
from initbench.reporting.methods import methods
from initbench.results.table import csv_bytes
from initbench.spec import grid
from initbench.spec.cell import LATER
from initbench.spec.settings import RULES

TEXT = """
name = "models"
[grid]
initializer = ["zeros", "he_normal"]
seed = 2
[model]
model = "lenet5"
[training]
epochs = 2
"""
OWN = "build@0123456789abcdef0123(width=64)"


def parsed(**overrides):
    return grid.parse(TEXT, overrides=overrides)


def evidence(built, accuracy=lambda cell: 0.9 + 0.01 * (cell.initializer == "zeros")):
    return Evidence.of(frame_of_grid(built, accuracy), built)


def lines(**overrides):
    return networks.lines(networks.of_grid(parsed(**overrides)))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        # LeNet-5's 61,706 parameters, as counted everywhere: 156 + 2,416 + 48,120 + 10,164 + 850.
        ({}, "LeNet-5: 61,706 parameters, all set by the initializers"),
        # A scale and a shift for each channel and unit: 2 (6 + 16 + 120 + 84) = 452.
        (
            {"normalization": "batch"},
            "LeNet-5: 61,706 of 62,158 parameters are set by the initializers; "
            "452 of batch normalization keep the module’s own start",
        ),
        ({"model": {"name": "lenet5", "pooling": "max"}}, "LeNet-5 (pooling max): 61,706 parameters, all set by "),
        ({"model": {"name": "convnet", "pooling": "global"}}, "convnet (pooling global): 5,130 parameters, all set by"),
        (
            {"model": {"name": "residual_perceptron", "blocks": 2, "width": 8}},
            f"residual perceptron (blocks 2, width 8): {785 * 8 + 4 * 9 * 8 + 9 * 10:,} parameters, all set by",
        ),
        (
            {"model": "perceptron", "hidden": [32], "normalization": "layer"},
            f"perceptron 784 → 32 → 10, layer normalization: {785 * 32 + 330:,} of {785 * 32 + 330 + 64:,} parameters",
        ),
    ],
)
def test_a_plan_says_how_many_parameters_the_initializers_set(overrides, line):
    (shown,) = lines(**overrides)
    assert shown.startswith(line)


def test_perceptrons_without_normalization_need_no_line_about_parameters():
    assert lines(model="perceptron", hidden=[[], [16]]) == []


def test_an_own_model_says_which_parameters_are_its_own_and_nothing_where_its_code_was_not_executed():
    built = grid.parse(TEXT, overrides={"model": OWN}, allow=None)
    assert networks.lines(networks.of_grid(built)) == [
        "build@012345(width=64): its parameters are counted where its code runs"
    ]
    layers = (Layer((3, 3, 1, 8), positions=784), Layer((4, 4), groups=2), Layer((8, 10), has_bias=False))
    add(OWN, (28, 28, 1), 10, Architecture(layers, 1000, other_parameters=17, is_perceptron=False))
    networks_of = networks.of_grid(built)
    filled = 72 + 8 + 2 * (16 + 4) + 80
    assert networks.lines(networks_of) == [
        f"build@012345(width=64): {filled} of {filled + 17} parameters are set by the initializers; "
        "17 keep the module’s own start"
    ]
    assert networks.sentence(networks_of) == (
        f"build@012345(width=64) (three layers, {filled + 17} parameters), for 28 × 28 × 1 images and 10 classes."
    )
    assert networks.rows(networks_of) == [
        ("build@012345(width=64)", "3 × 3 × 1 × 8, 4 × 4, 8 × 10", str(filled + 17), "17")
    ]


def test_a_perceptron_without_hidden_layers_beside_a_convolutional_network_is_the_only_one_without():
    built = parsed(model=["perceptron", "lenet5"], hidden=[], output_activation="same", activation="tanh")
    shown = evidence(built)
    flat, lenet = answers(shown)
    assert (flat.title, lenet.title) == ("perceptron", "LeNet-5")
    assert any("zeros works only" in line for line in flat.warnings)
    assert not any("zeros works only" in line for line in lenet.warnings)
    assert "zeros works only where a network has no hidden layer." in warnings(shown)
    alone = evidence(parsed(output_activation="same", activation="tanh"))
    assert not any("no hidden layer" in line for line in (*warnings(alone), *answers(alone)[0].warnings))
    assert title(alone) == "Which weight initializer for tanh with cross_entropy?"


def test_only_perceptrons_have_hidden_layers_in_a_title():
    settings = ["activation", "model", "hidden"]
    rows = [("perceptron", "16-16"), ("perceptron", ""), ("lenet5", "")]
    titles = [page.names.title(settings, {"activation": "tanh", "model": m, "hidden": h}) for m, h in rows]
    assert titles == ["tanh, perceptron, hidden 16-16", "tanh, perceptron, no hidden layer", "tanh, LeNet-5"]


def test_the_page_has_the_settings_that_are_set_and_no_other():
    built = parsed(
        normalization="batch", dropout=0.2, augment="crop", standardize=True, warmup_epochs=1.0,
        gradient_clipping=0.5, lr_schedule="cosine", optimizer={"name": "sgd", "weight_decay": 0.0005},
    )  # fmt: skip
    fixed = dict(page._fixed(built))
    assert "hidden layers" not in fixed
    expected = {
        "model": "LeNet-5", "normalization": "batch", "dropout": "0.2", "augmentation": "shifts",
        "standardization": "yes", "warm-up": "1 epoch", "gradient clipping": "0.5",
        "optimizer": "sgd(weight_decay=0.0005)", "lr schedule": "cosine: falls towards 0 at the last step",
    }  # fmt: skip
    assert expected.items() <= fixed.items()
    plain = dict(page._fixed(parsed(model="perceptron")))
    assert not set(plain) & {page.names.setting(setting) for setting in LATER}
    assert plain["hidden layers"] == "128"


def test_every_setting_that_may_be_off_has_words_for_it():
    assert set(page.names.OFF) == set(LATER) - {"model"}
    for setting, value in page.names.OFF.items():
        assert value == RULES[setting].default
        assert page.names.title([setting], {setting: value}).startswith("no ")


def test_a_reader_learns_what_normalization_and_noise_do_to_the_comparison():
    def explained(**overrides):
        built = parsed(**overrides)
        return " ".join(networks.explanations(built, networks.of_grid(built)))

    assert explained(model="perceptron") == ""
    assert "scale" not in explained()
    assert "fan_in is the product of the first three" in explained()
    assert "the scale of the layer’s weights has no effect on the forward pass" in explained(normalization="batch")
    residual = explained(model="residual_perceptron", normalization="batch")
    assert "no effect" not in residual
    assert "Batch normalization stands at the start of each block" in residual
    assert "measured with dropout and augmentation" in explained(dropout=0.1, augment="flip")


def test_the_methods_name_the_network_the_data_and_the_training():
    text = methods(
        evidence(
            parsed(
                standardize=True, augment="crop_flip", warmup_epochs=0.5, lr_schedule="cosine", gradient_clipping=1.0,
                normalization="layer", dropout=0.1,
            )
        ),
        [],
    )  # fmt: skip
    for clause in (
        "The network was LeNet-5 (two convolutions and three dense layers, 62,158 parameters, of which 452 kept the",
        "with layer normalization before activations",
        "with dropout of 0.1 after activations",
        "standardized by the mean and deviation of each channel",
        "augmented by random shifts of up to 4 pixels and horizontal flips",
        "with a learning rate of 0.1 that falls towards 0 along a cosine, after a linear warm-up over 0.5 epochs, "
        "with the gradient's norm clipped at 1,",
    ):
        assert clause in text


def test_a_page_on_lenet_has_its_layers_and_says_nothing_of_hidden_layers():
    built = parsed()
    text = Page(page.render(frame_of_grid(built, lambda cell: 0.9), built, [], "initbench run models.toml")).text
    assert (
        "LeNet-5 (two convolutions and three dense layers, 61,706 parameters), for 28 × 28 × 1 images and 10 classes."
        in text
    )
    assert "5 × 5 × 1 × 6, 5 × 5 × 6 × 16, 400 × 120, 120 × 84, 84 × 10" in text
    assert "hidden layer" not in re.sub("With hidden layers, zeros.*?bug.", "", text)
    assert not cautions(built.sources.values())


def test_show_prints_the_layers_of_a_model_with_their_fans(monkeypatch, capsys):
    status, out, err = ended(monkeypatch, capsys, "show", "lenet5")
    assert (status, err) == (0, "")
    assert "LeCun, Bottou, Bengio & Haffner 1998" in out
    assert "convolution of 6 filters 5 × 5, padding 2 → activation → average pooling 2 × 2" in out
    table = [line.split() for line in out.splitlines() if re.search(r"\d × \d.* [\d,]+ +[\d,]+ +[\d,]+$", line)]
    assert [line[-3:] for line in table] == [
        ["25", "150", "156"], ["150", "400", "2,416"], ["400", "120", "48,120"], ["120", "84", "10,164"],
        ["84", "10", "850"],
    ]  # fmt: skip
    status, _, err = ended(monkeypatch, capsys, "show", "lenet5", "--shape", "8,8,1")
    assert status == 2
    assert "too small" in err


def test_the_docs_page_of_models_matches_the_models():
    from tools.make_models_page import DOCS
    from tools.make_models_page import page as page_of_models

    assert (DOCS / "models.md").read_text(encoding="utf-8") == page_of_models(), "run make docs"


def test_data_without_height_and_width_are_examples_and_may_bring_their_own_validation_split():
    source = next(iter(parsed().sources.values()))
    features = replace(source, height=1, width=1, channels=784, validation_size=500)
    assert (page.names.images(source), page.names.images(features)) == ("images", "examples")
    assert page.names.validation_split(source) == "the first 5,000 of the 60,000 training images"
    assert page.names.validation_split(features) == "the 500 validation examples"
    small = replace(source, majority_class_validation_share=0.9, validation_size=10)
    assert "the validation split of 10 images does not separate" in cautions([small])[0]
    assert "Provide more validation images" in cautions([small])[0]


def test_a_csv_file_has_hidden_layers_of_perceptrons_alone():
    frame = frame_of_grid(parsed(model=["perceptron", "lenet5"], hidden=[16, 8]), lambda cell: 0.9)
    rows = pd.read_csv(io.BytesIO(csv_bytes(frame)))
    assert set(rows.loc[rows["model"] == "perceptron", "hidden"]) == {"[16, 8]"}
    assert rows.loc[rows["model"] == "lenet5", "hidden"].isna().all()
