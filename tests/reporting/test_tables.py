"""Tables for papers, and the paragraph on the methods: `initbench export`."""

import re

import numpy as np
import pytest
import untrusted
from command import ended
from frames import GRID as TEXT
from frames import frame_of_grid as made_up
from hypothesis import given, settings
from hypothesis import strategies as st
from idx import write_folder
from latex import PACKAGES, compile_paper, needs_latex

from initbench import stats
from initbench.reporting import numbers, tables
from initbench.reporting.evidence import Evidence
from initbench.spec import grid
from initbench.spec.columns import METRICS

# All commands that a table may have; of one character, the escapes.
COMMANDS = """
    begin end toprule midrule bottomrule addlinespace multicolumn cmidrule textbf mathbf caption label centering small
    scriptsize footnotesize smallskip setlength tabcolsep linewidth resizebox ifdim width else fi par noindent
    begingroup endgroup endhead endfirsthead textbackslash textasciitilde textasciicircum textless textgreater textbar
    pm times dagger circ cdot
"""
ALLOWED = {*COMMANDS.split(), *"\\&%$#_{}"}


def scattered(cell):
    """Accuracies of which one initializer is far behind, and one with mse has a high variance."""
    return (
        0.9
        - 0.4 * cell.initializer.startswith("trunc")
        - 0.02 * (cell.seed % 2) * (cell.loss == "mse") * (cell.initializer == "zeros")
    )


def evidence_of(text=TEXT, accuracy=scattered, **overrides):
    parsed = grid.parse(text, overrides={"seed": 5, **overrides})
    return Evidence.of(made_up(parsed, accuracy, lambda c: c.initializer.startswith("trunc") and c.seed == 0), parsed)


@pytest.fixture(scope="module")
def evidence():
    return evidence_of()


def in_latex(row, metric="test_accuracy"):
    """What a cell of LaTeX says about a row of results."""
    if metric.endswith("accuracy"):
        mean, above, below = numbers.interval_parts(row)
        assert numbers.interval(row).startswith(f"{mean}%")
    else:
        mean, above = numbers.loss_parts(row)
        below = above
    return rf"_{{\pm {above}}}" if above == below else f"^{{+{above}}}_{{-{below}}}", mean


def body_of(latex):
    lines = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    return [line.removesuffix(r" \\").split(" & ") for line in lines if line != r"\addlinespace"]


def rows_of(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return rows[0], rows[2:]


def checked(latex):
    """A table of LaTeX: its commands are known, its braces match, and each row has as many cells as columns."""
    latex = re.sub(r"(?m)^%.*$", "", latex)
    assert set(re.findall(r"\\([A-Za-z]+|.)", latex)) <= ALLOWED
    text = re.sub(r"\\.", lambda m: m[0] if m[0][1].isalpha() else "  ", latex)
    depth = np.cumsum([(character == "{") - (character == "}") for character in text])
    assert depth.min() == 0 == depth[-1]
    assert text.count("$") % 2 == 0
    kinds = [kind for _, kind in sorted((m.start(), m[0]) for m in re.finditer(r"\\(begin|end)\{(\w+)\}", latex))]
    open_ones = []
    for kind in kinds:
        if kind.startswith(r"\begin"):
            open_ones.append(kind[7:-1])
        else:
            assert open_ones.pop() == kind[5:-1]
    assert not open_ones
    columns = len(re.search(r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}", latex)[1])
    inside = latex.split(r"\toprule")[-1].split(r"\bottomrule")[0]
    for row in re.findall(r"(?m)^(.*) \\\\$", inside):
        spans = sum(int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert len(re.findall(r"(?<!\\)&", row)) + spans + 1 == columns
        assert not re.match(r"\s*[\[*]", row)  # the row before it would take it as its own
    for rules in re.findall(r"(?m)^\\cmidrule.*$", inside):
        ends = [(int(a), int(b)) for a, b in re.findall(r"\{(\d+)-(\d+)\}", rules)]
        assert [column for a, b in ends for column in range(a, b + 1)] == list(range(2, columns + 1))
    return latex


def test_the_long_table_has_the_numbers_and_the_best_in_bold(evidence):
    verdicts = evidence.verdicts
    markdown, latex = tables.markdown(evidence, "long"), tables.latex(evidence, "long")
    headings, rows = rows_of(markdown)
    assert headings[-3:] == ["failed", "behind", "costs at most"]
    assert latex.count(r"\addlinespace") == 3  # between four combinations
    body = body_of(checked(latex))
    assert len(rows) == len(body) == len(verdicts) == 12
    for (_, row), cells, tex in zip(verdicts.iterrows(), rows, body, strict=True):
        interval, mean = in_latex(row)
        best = row["standing"] == "best"
        assert row["leader"] <= best == (not row["significant"]) - (row["standing"] == "open")
        escaped = row["initializer"].replace("_", r"\_")
        assert cells[:3] == [row["activation"], row["loss"].replace("_", r"\_"), f"**{escaped}**" if best else escaped]
        assert tex[2] == (rf"\textbf{{{escaped}}}" if best else escaped)
        assert cells[3].replace("**", "").split(" ")[0] == mean
        assert ("**" in cells[3]) == (r"\mathbf" in tex[3]) == best
        assert ("◦" in cells[3]) == (r"\circ" in tex[3]) == (row["standing"] == "open")
        assert ("†" in cells[3]) == (r"\dagger" in tex[3]) == bool(row["flag"])
        assert interval in tex[3]
        assert mean in tex[3]
        assert cells[-1] == tex[-1] == numbers.at_most(row["regret_bound"])
        assert cells[-3] == f"{row['failed']} of 5"
    assert set(verdicts["failed"]) == {0, 1}


@pytest.mark.parametrize("metric", METRICS)
def test_the_pivot_has_every_mean_in_its_row_and_column_and_the_marks_of_test_accuracy(evidence, metric):
    last = evidence.frame[evidence.frame["epoch"] == 2]
    scored = last["status"] == "diverged"
    chance = {"test_accuracy": 0.1135, "validation_accuracy": 0.1126}.get(metric, np.nan)
    means = last[metric].where(~scored, chance).groupby([last[k] for k in ("loss", "activation", "initializer")]).mean()
    standing = evidence.verdicts.set_index(["loss", "activation", "initializer"])["standing"]
    headings, rows = rows_of(tables.markdown(evidence, "pivot", metric))
    latex = checked(tables.latex(evidence, "pivot", metric))
    body = body_of(latex)
    assert headings == ["initializer", "tanh, mse", "relu, mse", r"tanh, cross\_entropy", r"relu, cross\_entropy"]
    assert r" & \multicolumn{2}{c}{mse} & \multicolumn{2}{c}{cross\_entropy} \\" in latex
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in latex
    assert r"initializer & tanh & relu & tanh & relu \\" in latex
    assert (
        [row[0] for row in rows]
        == [row[0] for row in body]
        == [name.replace("_", r"\_") for name in evidence.initializers]
    )
    for name, cells, tex in zip(evidence.initializers, rows, body, strict=True):
        for heading, cell, in_tex in zip(headings[1:], cells[1:], tex[1:], strict=True):
            activation, loss = heading.replace("\\", "").split(", ")
            shown = cell.replace("**", "").split(" ")[0]
            value = means[loss, activation, name] * (100 if metric.endswith("accuracy") else 1)
            assert abs(float(shown) - value) <= 0.5 * 10.0 ** -len(shown.partition(".")[2]) + 1e-9
            assert shown in in_tex
            assert ("**" in cell) == (r"\mathbf" in in_tex) == (standing[loss, activation, name] == "best")
            assert ("◦" in cell) == (standing[loss, activation, name] == "open")
    note = tables.note(evidence, "pivot", metric)
    assert ("any other initializer in test accuracy" in note) == (metric != "test_accuracy")
    assert ("in percent" in note) == metric.endswith("accuracy")
    scoring = "scored at the majority-class accuracy" if metric.endswith("accuracy") else "left out of means"
    assert f"4 of 60 runs failed (diverged or stayed at chance); diverged runs are {scoring}." in note
    assert ("its interval reaches further down" in note) == metric.endswith("accuracy")


def test_the_layout_is_what_a_page_has_room_for():
    single = evidence_of(activation="relu", loss="mse")
    headings, rows = rows_of(tables.markdown(single))
    assert headings[:2] == ["initializer", "test accuracy, %"]  # no column of the one activation
    assert tables.note(single).startswith("relu, mse. page, 3 initializers × 5 seeds: ")
    assert rows_of(tables.markdown(single, "pivot"))[0] == headings[:2]
    assert [row[0] for row in rows] == ["**zeros**", r"**he\_normal**", r"truncated\_normal(std=1.0)"]
    several = evidence_of(learning_rate=[0.1 * i for i in range(1, 5)])
    assert tables.default_layout(several) == "pivot"
    assert tables.default_layout(evidence_of(learning_rate=[0.1 * i for i in range(1, 6)])) == "long"
    latex = checked(tables.latex(several, caption=""))
    assert r"\multicolumn{2}{c}{learning rate 0.1}" in latex
    assert latex.count(r"\multicolumn{8}{c}") == 2
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in latex  # never wider than the text
    assert r"\begin{longtable}" in checked(tables.latex(several, "long", caption=""))  # 48 rows


def test_without_failed_runs_there_are_no_columns_of_them():
    parsed = grid.parse(TEXT, overrides={"seed": 5})
    clean = Evidence.of(made_up(parsed), parsed)
    assert rows_of(tables.markdown(clean, "long"))[0] == [
        *("activation", "loss", "initializer", "test accuracy, %", "behind", "costs at most")
    ]
    assert "failed" not in tables.note(clean).replace("because runs failed", "")


def test_one_seed_marks_nothing_and_has_no_interval():
    single = evidence_of(seed=1)
    text = tables.markdown(single, "pivot")
    assert "**" not in text
    assert "±" not in text
    assert "interval" not in text
    assert "No differences could be tested, so none is the best." in text


def test_a_caption_or_a_label_makes_a_complete_table(evidence):
    plain = tables.latex(evidence)
    assert r"\begin{table}" not in plain
    assert plain.startswith("% page. Needs \\usepackage{booktabs}.\n\\begin{tabular}{lllll}\n")
    assert plain.splitlines()[-1].startswith("% page, 3 initializers")
    both = checked(tables.latex(evidence, caption="50% of\n\nA & b_c", label="tab:a_b"))
    assert r"\caption{50\% of A \& b\_c}\label{tab:a_b}" in both
    assert both.index(r"\end{tabular}") < both.index("3 initializers $\\times$") < both.index(r"\end{table}")
    labelled = checked(tables.latex(evidence, label="tab:x"))
    assert r"\caption{Mean test accuracy in percent by initializer, activation and loss.}\label{tab:x}" in labelled
    assert r"\label" not in tables.latex(evidence, caption="x")
    assert "\n\nTable: 50% of A & b\\_c\n\n".replace("&", "\\&") in tables.markdown(
        evidence, caption="50% of\n\nA & b_c"
    )


POISON = r"a_b & 50% [x]{y}\z~^|$#*`<i>"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """An experiment of two data sets, one of which has a name full of commands."""
    folder = write_folder(tmp_path_factory.mktemp("poison") / f"[{POISON}")
    axis = f"dataset = ['mnist', {{ idx = '{folder}' }}]\n"
    return evidence_of(TEXT.replace("[grid]\n", f"[grid]\n{axis}"), activation="tanh", batch_size=16)


@pytest.mark.parametrize("layout", ["pivot", "long"])
def test_a_name_is_shown_as_it_is_and_never_as_a_command(poisoned, layout):
    latex = checked(tables.latex(poisoned, layout, caption=POISON))
    written = r"a\_b \& 50\% {[}x]\{y\}\textbackslash{}z\textasciitilde{}\textasciicircum{}\textbar{}\$\#{*}`"
    assert latex.count(written) >= 3
    markdown = tables.markdown(poisoned, layout, caption=POISON)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")}) == 1
    assert not re.search(r"(?<!\\)[<`]", markdown)


@given(st.text(max_size=30))
@settings(max_examples=50)
def test_any_caption_leaves_a_table_as_it_is(evidence, text):
    latex = checked(tables.latex(evidence, caption=text))
    assert latex.count("\n") == tables.latex(evidence, caption="").count("\n")


def compiled(texts, folder, options=""):
    """What pdflatex prints of the tables, a page each."""
    packages = rf"\usepackage{{{','.join(PACKAGES)}}}"
    document = "\n\\clearpage\n".join(texts)
    (folder / "paper.tex").write_text(
        rf"\documentclass[{options}]{{article}}{packages}\begin{{document}}{document}\end{{document}}", encoding="utf-8"
    )
    return compile_paper(folder)


@needs_latex
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_no_complete_table_is_wider_than_the_text(evidence, tmp_path, options):
    single, rates = evidence_of(activation="relu", loss="mse"), evidence_of(learning_rate=[0.1, 0.2, 0.3, 0.4])
    texts = [tables.latex(of, caption="A caption.", label="tab:a") for of in (evidence, single, rates)]
    texts.append(tables.latex(evidence, "long", caption="A caption."))
    assert b"Overfull \\hbox" not in compiled(texts, tmp_path, options)


@needs_latex
def test_latex_compiles_every_table(evidence, poisoned, tmp_path):
    texts = [tables.latex(evidence)]
    for i, of in enumerate((evidence, poisoned, evidence_of(activation="relu", loss="mse"))):
        for metric in METRICS:
            texts += [
                tables.latex(of, layout, metric, POISON, f"tab:{i}-{layout}-{metric}") for layout in ("pivot", "long")
            ]
    rates = evidence_of(learning_rate=[0.1, 0.2, 0.3, 0.4])
    texts += [tables.latex(rates, layout, caption=POISON) for layout in ("pivot", "long")]
    compiled(texts, tmp_path)
    assert b"Missing character" not in (tmp_path / "paper.log").read_bytes()


def test_the_command_writes_what_the_options_ask_for(tmp_path, monkeypatch, capsys):
    run = untrusted.made_run(tmp_path)
    monkeypatch.chdir(tmp_path)

    def exported(name, *options):
        status, out, err = ended(monkeypatch, capsys, "export", run, name, *options)
        assert status == 0, err
        return out.strip(), (tmp_path / name).read_text(encoding="utf-8")

    assert exported("a.md")[0] == "a.md: 3 rows"
    assert exported("b.md", "--layout", "long")[0] == "b.md: 6 rows"
    printed, text = exported("c.tex", "--metric", "train_loss", "--caption", "Losses", "--label", "tab:losses")
    assert printed == "c.tex: 3 rows"
    assert r"\caption{Losses}\label{tab:losses}" in checked(text)
    assert "mean training loss and 95" in text
    printed, text = exported("d.txt")
    assert printed == f"d.txt: {len(text.split())} words"
    assert text.startswith(
        "We compared 3 weight initializers (zeros, he_normal and normal(std=0.2)) with 2 activations "
    )
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "x.csv",
            ["--layout", "long"],
            "--layout: not allowed with x.csv; allowed: with a name that ends in .md or .tex",
        ),
        ("x.parquet", ["--metric", "test_loss"], "--metric: not allowed with x.parquet"),
        ("x.txt", ["--caption", "x"], "--caption: not allowed with x.txt"),
        ("x.md", ["--label", "x"], "--label: not allowed with x.md; allowed: with a name that ends in .tex"),
        ("x.tex", ["--layout", "pivvot"], "--layout 'pivvot': allowed: pivot, long; did you mean 'pivot'?"),
        ("x.tex", ["--metric", "accuracy"], "--metric 'accuracy': allowed: train_loss, validation_loss, "),
        ("x.tex", ["--label", "a}b"], "--label 'a}b': allowed: letters, digits and : . _ / + -"),
        ("x.tex", ["--label", ""], "--label '': allowed: letters"),
        ("x.html", [], "the name ends in '.html'; allowed: .csv, .parquet, .xlsx, .md, .tex or .txt"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capsys, name, options, message
):
    run = untrusted.made_run(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    status, _, err = ended(monkeypatch, capsys, "export", run, name, *options)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / name).exists()


def test_a_metric_other_than_test_accuracy_has_the_results_of_that_metric(evidence):
    keys = ["activation", "loss", "initializer"]
    for metric in METRICS:
        expected = stats.results(evidence.frame, keys, metric, evidence.chance).set_index(keys)
        table = evidence.results_in(metric).set_index(keys)
        assert table["mean_all"].tolist() == pytest.approx(expected["mean_all"][table.index].tolist())
        assert table["standing"].tolist() == evidence.verdicts["standing"].tolist()
