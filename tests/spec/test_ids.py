"""Ids of cells: those of earlier versions stay what they were."""

import hashlib

import pytest
from cells import make_cell

from initbench.spec import grid
from initbench.spec.cell import LATER, TRAINING_VERSION, Cell

# Computed by the code before the settings of `LATER`: cells, with their ids in the third, second and first version of
# the training.
FIRST_IDS = [
    ({}, ("b815876a28a3521e50b9", "e25dfa8cc515fec65ecd", "6600790c60d1c9fea496")),
    ({"initializer": "zeros", "seed": 3}, ("9c1c8ef87512f2967013", "28663aeff4fc0ee84dc0", "bf16e333a724a6d498f2")),
    (
        {
            "dataset": "fashion@0123456789ab",
            "train_size": 640,
            "activation": "softmax",
            "output_activation": "softmax",
            "hidden": "",
            "loss": "mse",
        },
        ("26981a721609461a1840", "a74c973b85da0cce7eb3", "489e35fdef27438731c6"),
    ),
    (
        {
            "initializer": "normal(mean=0.0, std=0.2)",
            "hidden": "256-64",
            "optimizer": "adamw(beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01)",
            "learning_rate": 0.003,
            "lr_schedule": "exponential",
            "lr_decay": 0.05,
            "precision": "bfloat16",
        },
        ("79f725e5424fbd140db6", "59271be965ebeb7a1568", ""),
    ),
]

GRID = """
[grid]
initializer = ["glorot_uniform", "lsuv", "torch_linear_default", { name = "normal", std = 0.2 }]
activation = ["tanh", "relu", "silu", { name = "leaky_relu", negative_slope = 0.2 }]
loss = ["mse", "cross_entropy", "mae", { name = "huber", delta = 2.0 }, "hinge"]
optimizer = ["sgd", "momentum", { name = "momentum", momentum = 0.5 }, "nesterov", "rmsprop", "adam", "adamw",
             { name = "adamw", weight_decay = 0.1 }]
hidden = [[64], [128, 64]]
seed = 2
[model]
output_activation = "same"
[training]
learning_rate = 0.01
lr_schedule = "exponential"
lr_decay = 0.1
"""


@pytest.mark.parametrize(("settings", "ids"), FIRST_IDS)
def test_cells_of_earlier_versions_keep_their_ids(settings, ids):
    cell = Cell(**settings)
    assert (cell.id_of(3), cell.id_of(2), cell.id_of(1)) == ids
    assert cell.id == cell.id_of(TRAINING_VERSION) not in ids


def test_every_cell_of_an_earlier_grid_keeps_its_id():
    """So the canonical names of functions are those of the earlier version too."""
    ids = "".join(cell.id_of(3) for cell in grid.parse(GRID).cells())
    assert (len(ids) // 20, hashlib.sha256(ids.encode()).hexdigest()[:20]) == (2560, "9fefca1d6377ae610d13")


def test_a_later_setting_changes_the_id_unless_it_has_its_default():
    changed = {
        "standardize": True,
        "augment": "flip",
        "model": "lenet5",
        "normalization": "batch",
        "dropout": 0.5,
        "warmup_epochs": 1.0,
        "gradient_clipping": 1.0,
    }
    assert tuple(changed) == LATER
    cell = make_cell()
    others = [cell._replace(**{name: value}) for name, value in changed.items()]
    others.append(cell._replace(dropout=1.0, warmup_epochs=0.5))
    assert len({other.id for other in (cell, *others)}) == len(others) + 1
    for other in others:
        assert [other.id_of(version) for version in (1, 2)] == ["", ""]
        assert other.id_of(3) not in ("", other.id)
    defaults = {name: Cell._field_defaults[name] for name in LATER}
    assert cell._replace(**defaults).id == cell.id
