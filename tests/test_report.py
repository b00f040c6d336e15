"""The report: its words, its figures, and the page in a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest
from test_stats import frame_of

import initbench as ib
from initbench import grid, stats
from initbench.reporting import make, words
from initbench.results import table

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")

TEXT = """
name = "page"
[grid]
initializer = ["zeros", "he_normal", { name = "truncated_normal", std = 1.0 }]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy"]
seed = 3
[model]
hidden = []
output_activation = "same"
[training]
epochs = 2
"""


def made_up(parsed, accuracy=lambda cell: 0.9 if cell.initializer == "zeros" else 0.5, broken=lambda cell: False):
    """A tidy table of a grid with made-up metrics."""
    cells = list(parsed.cells())
    metrics = {}
    for name in ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
        rows = []
        for epoch in range(cells[0].epochs + 1):
            values = [accuracy(c) + 0.001 * (hash_of(c) % 7) - 0.1 * (2 - epoch) * (epoch > 0) for c in cells]
            rows.append([float("inf") if epoch and broken(c) else v for c, v in zip(cells, values, strict=True)])
        metrics[name] = rows
    return table(cells, metrics).to_pandas()


def hash_of(cell):
    return int(cell.id[:6], 16)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.addresses, self.tags, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        if tag == "img":
            self.images.append(given)
        self.addresses += [given[key] for key in ("src", "href", "action", "srcset") if key in given]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page():
    parsed = grid.parse(TEXT)
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    return make(made_up(parsed), parsed, [environment, environment], "initbench run page.toml")


def test_the_page_asks_nothing_of_any_host(page):
    parsed = Page(page)
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert "script" not in parsed.tags
    assert "link" in parsed.tags  # the empty icon, so that no browser asks for one
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_figure_says_what_it_shows(page):
    images = Page(page).images
    figures = [image for image in images if image.get("alt")]
    assert len(figures) == 4 + 4 + 2  # panels, curves, heat maps
    assert len(images) - len(figures) == 3  # the legend's swatches stand beside their names
    for image in figures:
        assert "zeros" in image["alt"]
        assert re.search(r"\d", image["alt"])
        svg = base64.b64decode(image["src"].partition(",")[2])
        assert b"<svg" in svg
        assert not re.search(rb'(?:href|src)="(?!#|data:)', svg.replace(b"\n", b""))


def test_the_answer_stands_first_in_words(page):
    text = Page(page).text
    answer = text.index("For all 4 combinations of activation and loss, zeros is among the best.")
    assert answer < text.index("The answer for each combination") < text.index("Means and 95% intervals")
    assert "Never among the best: he_normal and truncated_normal(std=1.0)." in text
    assert "36 training runs on MNIST (55,000 training images), 3 seeds for each setting, 2 epochs each." in text
    for part in (
        "Method",
        "Environment",
        "a processor",
        "Make it again",
        "initbench run page.toml",
        "None of the 36 runs",
    ):
        assert part in text


def test_the_tables_hold_the_numbers_of_the_statistics(page):
    parsed = grid.parse(TEXT)
    verdicts = stats.verdicts(made_up(parsed), ["activation", "loss"])
    text = Page(page).text
    for _, row in verdicts.iterrows():
        assert words.interval(row) in text


def test_the_articles_setting_is_told_to_be_a_finding(page):
    text = Page(page).text
    assert "The article's own setting" in text
    assert "finding and no error" in text
    assert "zeros are a good start" in text


def test_a_scheme_for_each_place_has_a_short_name_that_fits_its_figures(recwarn):
    table = '{ hidden = "he_normal", last = { name = "normal", std = 0.01 } }'
    longest = (
        '{ first = "variance_scaling", hidden = "glorot_truncated_normal", last = { name = "uniform", low = -1 } }'
    )
    parsed = grid.parse(TEXT.replace('"zeros"', f'"zeros", {table}, {longest}'))
    text = Page(make(made_up(parsed), parsed, [], "x")).text
    assert "he_normal with last normal(std=0.01)" in text
    assert "glorot_truncated_normal with first variance_scaling and last uniform(low=-1.0, high=0.05)" in text
    assert "per_layer(" not in text.replace(parsed.text, "")
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]


def test_the_same_table_makes_the_same_page(page):
    parsed = grid.parse(TEXT)
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    assert make(made_up(parsed), parsed, [environment], "initbench run page.toml") == page


def test_what_comes_from_a_grid_file_is_escaped():
    parsed = grid.parse(TEXT + "# <script>alert(1)</script>")
    text = make(made_up(parsed), parsed, [{"processor": "<img src=x>"}], "<b>")
    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 1}, "With one seed there is no interval"),
        ({"seed": 2}, "With two seeds"),
        ({"initializer": "zeros"}, "there is nothing to choose"),
        ({"learning_rate": [0.1, 0.01]}, "learning rate 0.01"),
        ({"epochs": [1, 2]}, "epochs 1"),
        ({"hidden": [[8], [4, 4]]}, "hidden 4-4"),
        ({"activation": "tanh", "loss": "mse"}, "the best"),
    ],
)
def test_grids_of_other_shapes_read_well(change, sentence):
    parsed = grid.parse(TEXT, overrides=change)
    frame = pd.concat([made_up_of_epochs(parsed, e) for e in parsed.axes["epochs"]], ignore_index=True)
    text = Page(make(frame, parsed, [], "initbench run page.toml")).text
    assert sentence in text
    assert "nan" not in text.lower().replace("finance", "")


def made_up_of_epochs(parsed, epochs):
    import dataclasses

    one = dataclasses.replace(parsed, axes={**parsed.axes, "epochs": (epochs,)})
    return made_up(one)


def test_divergence_is_counted_and_listed():
    parsed = grid.parse(TEXT)
    frame = made_up(parsed, broken=lambda c: c.initializer == "he_normal" and c.activation == "relu" and c.seed < 2)
    text = Page(make(frame, parsed, [], "x")).text
    assert "4 of 36 runs diverged" in text
    assert "2 of 3" in text
    dead = made_up(parsed, broken=lambda c: c.activation == "relu" and c.loss == "mse")
    text = Page(make(dead, parsed, [], "x")).text
    assert "For all 3 combinations of activation and loss, zeros is among the best." in text
    assert "In 1 combination every run diverged." in text
    assert text.count("Every run diverged: there is no best.") == 1
    everything = made_up(parsed, broken=lambda c: True)
    text = Page(make(everything, parsed, [], "x")).text
    assert "Every run diverged, so no initializer can be recommended." in text


def test_a_part_of_a_run_is_told_to_be_one():
    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    text = Page(make(frame[frame["seed"] < 2], parsed, [], "initbench run page.toml")).text
    assert "2 seeds for each setting" in text
    assert "With two seeds" in text
    assert "12 of the 36 cells are not trained yet" in text
    text = Page(make(frame[:0], parsed, [], "initbench run page.toml")).text
    assert "No cell of this run is trained yet" in text


def test_a_verdict_says_who_leads_who_is_not_told_apart_and_who_is_behind():
    frame = frame_of(
        {
            "a": [0.90, 0.91, 0.92, 0.91, 0.90],
            "b": [0.90, 0.90, 0.93, 0.91, 0.89],
            "c": [0.50, 0.51, 0.52, 0.51, 0.50],
        }
    )
    assert words.verdict(stats.verdicts(frame, [])) == (
        "a leads on validation; its test accuracy is 90.8% ± 1.0 (5 seeds). Among the best too: b. "
        "Behind it: c by 40.0 points."
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_a_complaint_or_a_request(page, tmp_path, width):
    """The page in a frame of the given width, watched from outside: Chromium's own window is never below 500."""
    watcher = """<!DOCTYPE html><title>waiting</title><iframe id="f" width="WIDTH" height="900" srcdoc="PAGE"></iframe>
        <script>onload = () => {
            const inside = f.contentDocument, images = [...inside.images]
            document.title = JSON.stringify({
                wide: inside.documentElement.scrollWidth,
                images: images.length && images.every(i => i.complete && i.naturalWidth > 0),
                requests: f.contentWindow.performance.getEntriesByType("resource")
                    .filter(e => !e.name.startsWith("data:")).length
            })
        }</script>"""
    framed = watcher.replace("WIDTH", str(width)).replace("PAGE", html.escape(page, quote=True))
    (tmp_path / "watcher.html").write_text(framed, encoding="utf-8")
    arguments = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--enable-logging=stderr",
        "--dump-dom", (tmp_path / "watcher.html").as_uri(),
    ]  # fmt: skip
    out = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", out.stdout)[1]))
    assert seen["images"] is True
    assert seen["requests"] == 0
    assert seen["wide"] <= width
    assert "CONSOLE" not in out.stderr


def test_report_from_python_gives_its_path(tmp_path, grid_file):
    ib.run(grid_file, results=tmp_path, workers=1, overrides={"seed": 1})
    path = ib.report(tmp_path / "small")
    assert path == tmp_path / "small" / "report.html"
    assert len(path.read_bytes()) < 3_000_000


def test_the_report_of_a_run_says_how_fast_it_was(tmp_path, grid_file):
    import initbench as ib
    from initbench import store

    ib.run(grid_file, results=tmp_path, workers=1)
    timings = store.read_timings(tmp_path / "small")
    assert len(timings) == 2
    starts = [sum(told["seconds"] for told in timing["initialization"].values()) for timing in timings]
    trained = [timing["seconds"] - start for timing, start in zip(timings, starts, strict=True)]
    possible = sum(s * timing["product_rate"] for s, timing in zip(trained, timings, strict=True))
    share = sum(timing["operations"] for timing in timings) / possible
    assert 0 < share < 1.5
    text = Page(ib.report(tmp_path / "small").read_text()).text
    assert f"{100 * share:.0f}% of its rate in a large matrix product" in text
    assert f"its training took {sum(trained) / 12:.2g} s" in text


def test_what_initial_weights_cost_is_told_of_this_grids_and_taken_off_the_training():
    made = {"metainit": {"cells": 2, "seconds": 250.0}, "zeros": {"cells": 2, "seconds": 0.0}, "broken": None}
    told = {"seconds": 254.0, "cells": 4, "operations": 4e9, "product_rate": 2e9, "initialization": made}
    assert words.speed([told]).startswith("Training took 254 s")  # a damaged timing is not read
    del made["broken"]
    assert words.speed([told]) == (
        "Training took 4 s of one core and reached 1 GFLOP/s on it, 50% of its rate in a large matrix product."
    )
    others = "less than 0.01 s with the others; its training took 1 s."
    assert words.initialization([told]) == f"A cell’s initial weights took 125 s with metainit, and {others}"
    assert words.initialization([told], ["zeros"]) == (
        "A cell’s initial weights took less than 0.01 s with every initializer; its training took 1 s."
    )
    assert words.initialization([told], []) == words.initialization([{"seconds": 1.0}]) == ""


def test_tables_for_papers_have_the_numbers_and_the_best_in_bold():
    from initbench.reporting import tables

    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    verdicts = stats.verdicts(frame, ["activation", "loss"])
    markdown, latex = tables.markdown(frame, parsed), tables.latex(frame, parsed)
    rows = [line for line in markdown.splitlines() if line.startswith("|")][2:]
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(rows) == len(body) == len(verdicts) == 12
    for (_, row), text, tex in zip(verdicts.iterrows(), rows, body, strict=True):
        assert words.interval(row) in text
        assert words.interval(row).replace("%", r"\%").replace("±", r"$\pm$") in tex
        best = row["leader"] or not row["told_apart"]
        assert ("**" in text) == (r"\textbf{" in tex) == best
        assert row["initializer"].replace("_", r"\_") in text
        assert row["initializer"].replace("_", r"\_") in tex
    assert re.sub(r"\\.", "", latex.partition("\n")[2]).count("_") == 0  # every one is escaped


def test_the_page_says_how_many_seeds_would_be_enough(page):
    parsed = grid.parse(TEXT)
    verdicts = stats.verdicts(made_up(parsed), ["activation", "loss"])
    text = Page(page).text
    assert "How many seeds would be enough" in text
    for _, rows in verdicts.groupby(["activation", "loss"], sort=False):
        nearest = rows.loc[rows["behind"].idxmin()]
        detectable = stats.detectable(nearest["behind_std"], 3, 3)
        assert words.signed(detectable, 2) in text
        assert words.whole(stats.seeds_needed(0.001, nearest["behind_std"], 3)) in text
    alone = grid.parse(TEXT, overrides={"seed": 1})
    assert "How many seeds" not in Page(make(made_up(alone), alone, [], "x")).text


def test_the_page_says_how_fast_an_initializer_comes_near_the_leader():
    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    verdicts = stats.verdicts(frame, ["activation", "loss"])
    table = stats.near_leader(frame, verdicts, ["activation", "loss"]).set_index(["activation", "loss", "initializer"])
    for (activation, loss), rows in verdicts.groupby(["activation", "loss"]):
        target = rows.loc[rows["leader"], "validation_accuracy"].item() - 0.01
        for name in rows["initializer"]:
            cells = frame[
                (frame["activation"] == activation) & (frame["loss"] == loss) & (frame["initializer"] == name)
            ]
            by_hand = cells[cells["validation_accuracy"] >= target].groupby("cell")["epoch"].min()
            assert table.loc[(activation, loss, name), "reached"] == len(by_hand)
            if len(by_hand) == 3:
                assert table.loc[(activation, loss, name), "median"] == by_hand.median()
    assert (table["reached"] > 0).any()
    assert "Epochs to get near" in Page(make(frame, parsed, [], "x")).text
