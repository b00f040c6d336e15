"""The built-in models: their shapes and costs are those of PyTorch's modules, and of the papers."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from initbench.errors import UserError
from initbench.models import architecture, built_in, modules, weights
from initbench.spec import grid

MODELS = [
    "lenet5",
    "lenet5(pooling='max')",
    "convnet",
    "convnet(pooling='global')",
    "residual_perceptron(blocks=2, width=32)",
    "allconv(width=8)",
    "perceptron",
]
MNIST, CIFAR = (28, 28, 1), (32, 32, 3)


def module_of(model, shape, normalization="none", dropout=0.0, hidden="64-32"):
    return modules.module(built_in.blocks_of(model, hidden, 10), shape, nn.ReLU, normalization, dropout)


def with_random_weights(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 4)
    return module


@pytest.mark.parametrize("shape", [MNIST, CIFAR])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("model", MODELS)
def test_the_architecture_without_pytorch_is_that_of_the_module(model, normalization, shape):
    network = built_in.architecture_of(model, "64-32", normalization, shape, 10)
    for dropout in (0.0, 0.5):
        module = module_of(model, shape, normalization, dropout)
        shown = weights.passed(module, shape)
        assert weights.architecture_of(module, shown) == network._replace(is_perceptron=False)
        assert [layer.name for layer in weights.built_in_layers(module, network)] == [
            layer.name for layer in shown.layers
        ]
    assert network.parameter_count == sum(p.numel() for p in module.parameters())
    assert network.is_perceptron == (model == "perceptron" and normalization == "none")


@pytest.mark.parametrize("model", MODELS)
def test_the_operations_are_those_that_pytorch_counts(model):
    network, module = built_in.architecture_of(model, "64-32", "none", MNIST, 10), module_of(model, MNIST)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(5, 1, 28, 28))
    assert architecture.evaluation_flops(network, 5) == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(5, 1, 28, 28)).sum().backward()
    assert architecture.step_flops(network, 5) == counter.get_total_flops()


def test_the_sizes_are_those_of_the_papers():
    # LeCun et al. 1998: C5 is 400 → 120 and F6 120 → 84; a dense first table of maps, and 10 logits in place of RBFs.
    assert built_in.architecture_of("lenet5", "", "none", MNIST, 10).parameter_count == 61_706
    # Springenberg et al. 2015, table 1: All-CNN-C has "~1.3M" parameters.
    assert 1.3e6 < built_in.architecture_of("allconv(width=96)", "", "none", CIFAR, 10).parameter_count < 1.4e6
    # The network: 3 × 3 convolutions of 16 and 32 filters, stride 2, and 7 · 7 · 32 values to 10 classes.
    assert built_in.architecture_of("convnet", "", "none", MNIST, 10).shapes == (
        (3, 3, 1, 16),
        (3, 3, 16, 32),
        (1568, 10),
    )


def test_a_residual_perceptron_adds_each_branch_to_what_enters_it():
    module = with_random_weights(module_of("residual_perceptron(blocks=2, width=8)", MNIST))
    x = torch.randn(3, 1, 28, 28)
    first, *branches, last = [p for p in module.parameters() if p.ndim == 2]
    biases = [p for p in module.parameters() if p.ndim == 1]
    h = x.flatten(1) @ first.T + biases[0]
    for n in (0, 2):
        inner = torch.relu(h @ branches[n].T + biases[n + 1])
        h = h + inner @ branches[n + 1].T + biases[n + 2]
    expected = torch.relu(h) @ last.T + biases[-1]
    torch.testing.assert_close(module(x), expected)


def test_lenet5_is_the_textbook_network():
    own = with_random_weights(module_of("lenet5", MNIST))
    textbook = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    textbook.load_state_dict(dict(zip(textbook.state_dict(), own.state_dict().values(), strict=True)))
    x = torch.randn(3, 1, 28, 28)
    assert torch.equal(own(x), textbook(x))


def test_normalization_stands_before_each_activation_and_dropout_after_it():
    kinds = [type(part).__name__ for part in module_of("convnet", MNIST, "batch", 0.5)]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout"]
    assert kinds == [*block, *block, "Flatten", "Linear"]
    kinds = [type(part).__name__ for part in module_of("perceptron", MNIST, "layer", hidden="8")]
    assert kinds == ["Flatten", "Linear", "LayerNorm", "ReLU", "Linear"]
    # Layer normalization of images: all values of an image, an affine map for each channel.
    normalization = module_of("convnet", MNIST, "layer")[1]
    x = torch.randn(4, 16, 5, 5)
    torch.testing.assert_close(normalization(x), nn.functional.layer_norm(x, (16, 5, 5)))


def parsed(model, extra=""):
    return grid.parse(f'[grid]\ninitializer = ["he_normal"]\nmodel = {model}\n{extra}')


@pytest.mark.parametrize(
    ("model", "extra", "line"),
    [
        (
            '["lenet"]',
            "",
            "unknown model 'lenet'; allowed: perceptron, lenet5, convnet, residual_perceptron, allconv, or a function "
            "of your own, as 'my_models.py:build'; did you mean 'lenet5'?",
        ),
        ("[\"lenet5(pooling='mean')\"]", "", "lenet5: pooling = 'mean'; allowed: one of 'average', 'max'"),
        ('[{ name = "allconv", width = 0 }]', "", "width = 0; allowed: from 1 to 1024"),
        (
            '["lenet5"]',
            "[model]\nhidden = [64]",
            "hidden = [64] with model = 'lenet5' is not allowed: only a perceptron",
        ),
        ('["perceptron", "lenet5"]\nhidden = [[64], [32]]', "", "would be the same cell 2 times: only a perceptron"),
        ('["convnet"]\nactivation = ["softmax"]', "", "activation = 'softmax' with model = 'convnet' is not allowed"),
        ('["perceptron"]\nhidden = [[]]', "[model]\ndropout = 0.5", "dropout = 0.5 with hidden = [] is not allowed"),
        ('["convnet"]', "[training]\nprecision = 'bf16'", "precision = 'bf16' with model = 'convnet' is not allowed"),
    ],
)
def test_a_mistake_about_models_is_one_line(model, extra, line):
    with pytest.raises(UserError) as mistake:
        parsed(model, extra)
    assert len(mistake.value.lines) == 1
    assert line in mistake.value.lines[0]


def test_the_model_is_set_from_the_command_line_as_any_setting():
    text = '[grid]\ninitializer = ["he_normal"]\n[model]\nactivation = "tanh"\n'
    lenet = grid.parse(text, overrides={"model": "lenet5"})
    assert (lenet.axes["model"], lenet.axes["activation"]) == (("lenet5",), ("tanh",))
    both = grid.parse(lenet.text, overrides={"model": ["convnet", {"name": "allconv", "width": 8}]})
    assert (both.axes["model"], both.axes["activation"]) == (("convnet", "allconv(width=8)"), ("tanh",))


def test_only_perceptrons_have_hidden_layers():
    cells = list(parsed('["perceptron", "lenet5"]', "[model]\nhidden = [64]").cells())
    assert {(cell.model, cell.hidden) for cell in cells} == {("perceptron", "64"), ("lenet5", "")}


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="the images are too small; allowed: at least 12 × 12"):
        built_in.architecture_of("lenet5", "", "none", (8, 8, 1), 10)
    assert built_in.architecture_of("lenet5", "", "none", (12, 12, 1), 10).shapes[2] == (16, 120)
    with pytest.raises(ValueError, match="features have no height and width; allowed: models of dense layers alone"):
        built_in.architecture_of("lenet5", "", "none", (1, 1, 20), 10)
