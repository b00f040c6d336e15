"""Names for people: data sets without the digest of their content, and still different where they differ."""

import pytest
from frames import GRID, frame_of_grid
from hypothesis import given
from hypothesis import strategies as st
from idx import write_folder
from page import Page

from initbench.reporting import cautions, names
from initbench.reporting.evidence import Evidence
from initbench.reporting.explorer import embedded
from initbench.reporting.page import render
from initbench.spec import grid

FOLDERS = st.sampled_from(["digits", "fashion-mnist", "Fashion-MNIST", "mnist", "a@b", "digits (0000)"]) | st.text(
    min_size=1, max_size=8
)
DIGESTS = st.sampled_from(["000000000000", "0000ffffffff", "00000000000f", "a485933e0d1e"])
FULL_NAMES = st.just("mnist") | st.builds("{}@{}".format, FOLDERS, DIGESTS)


@given(st.lists(FULL_NAMES, max_size=8))
def test_different_data_sets_have_different_names_and_a_single_one_has_no_digest(full):
    shown = names.datasets(full)
    assert set(shown) == set(full)
    assert len(set(shown.values())) == len(set(full))
    for name in full:
        if len(set(map(names.dataset, full))) == len(set(full)):
            assert shown[name] == names.dataset(name)


@pytest.mark.parametrize(
    ("full", "shown"),
    [
        ("mnist", "MNIST"),
        ("fashion-mnist@a485933e0d1e", "Fashion-MNIST"),
        ("FashionMNIST@a485933e0d1e", "Fashion-MNIST"),
        ("my-digits@a485933e0d1e", "my-digits"),
        ("me@home@a485933e0d1e", "me@home"),
        ("me@home", "me@home"),
        ("@a485933e0d1e", "@a485933e0d1e"),
    ],
)
def test_a_data_set_is_named_as_people_name_it(full, shown):
    assert names.dataset(full) == shown
    assert names.dataset(shown) == shown
    assert names.title(["dataset", "loss"], {"dataset": full, "loss": "mse"}) == f"{shown}, mse"
    assert names.setting_text("dataset", full) == shown


@pytest.fixture
def experiment(tmp_path):
    """A grid of MNIST and of two folders of one name and different images, with made-up results."""
    folders = []
    for i, parent in enumerate(("one", "two")):
        (tmp_path / parent).mkdir()
        folders.append(write_folder(tmp_path / parent / "fashion-mnist", images=600 + 12 * i, labels=600 + 12 * i))
    axis = ", ".join(["'mnist'", *(f"{{ idx = '{folder}' }}" for folder in folders)])
    parsed = grid.parse(GRID.replace("[grid]", f"[grid]\ndataset = [{axis}]"), overrides={"activation": "tanh"})
    return frame_of_grid(parsed), parsed


def test_the_page_names_data_sets_for_people_and_the_environment_in_full(experiment, without_figures):
    frame, parsed = experiment
    full = [name for name in parsed.axes["dataset"] if name != "mnist"]
    shown = [f"Fashion-MNIST ({name.partition('@')[2][:4]})" for name in full]
    page = Page(render(frame, parsed, [], "initbench run page.toml"))
    for name, text in zip(full, shown, strict=True):
        assert page.text.count(name) == 1  # under Environment
        assert page.text.count(text) > 3
    evidence = Evidence.of(frame, parsed)
    assert [title for title, _ in evidence.combinations] == [
        f"{name}, {loss}" for name in ("MNIST", *shown) for loss in ("mse", "cross_entropy")
    ]
    assert set(evidence.chance) == {"MNIST", *shown}
    assert any(line.startswith(shown[0]) for line in cautions.cautions(parsed.sources.values()))


def test_stored_names_are_unchanged_in_the_tables_of_a_page(experiment):
    frame, parsed = experiment
    before = frame.copy()
    Evidence.of(frame, parsed).verdicts  # noqa: B018
    assert frame.equals(before)
    assert embedded(frame)[0].equals(before)
