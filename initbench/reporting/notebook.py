"""The result of an experiment as a notebook shows it, and in a few lines of text: its answers and its main figure."""

import hashlib

from markupsafe import Markup

from initbench.reporting import answers, figures, limits, narrative
from initbench.reporting.cautions import added_seeds, cautions
from initbench.reporting.evidence import Evidence
from initbench.reporting.gallery import overview
from initbench.reporting.palette import Palette
from initbench.reporting.templates import fill
from initbench.results.experiment import Experiment

EMPTY = "No cell is trained."


def text(experiment: Experiment, evidence: Evidence | None) -> str:
    """Return the answers as a few lines of text; `evidence` is None if no cell is trained."""
    if evidence is None:
        return f"{experiment.folder}: {EMPTY}"
    first = evidence.first
    lines = [
        f"{experiment.folder}: {narrative.evidence(evidence.last, evidence.seeds, evidence.images)}",
        *_notices(experiment, evidence),
    ]
    combinations = answers.answers(first)
    if len(combinations) == 1:
        (answer,) = combinations
        lines.append(f"{answer.title}: {answer.recommendation} {answer.certainty}")
    else:
        lines += [_line(answer) for answer in combinations[: limits.MAX_FIRST_ANSWERS]]
        lines += _legend("".join(answer.accuracy for answer in combinations[: limits.MAX_FIRST_ANSWERS]), "")
    if len(combinations) > limits.MAX_FIRST_ANSWERS:
        lines.append(
            f"{len(combinations) - limits.MAX_FIRST_ANSWERS} more combinations are in verdicts() and in the report."
        )
    return "\n".join([*lines, *answers.warnings(evidence)])


def _line(answer: answers.Answer) -> str:
    return f"{answer.title}: {answers.either(answer.names) or '–'}, {answer.accuracy}; {answer.certainty_label}"


def html(experiment: Experiment, evidence: Evidence | None) -> str:
    """Return the answers and the main figure as a part of a page, with a style of its own and without scripts.

    Its colours are dark where the notebook is; it has a ground of its own, so that it is readable in any theme.
    """
    if evidence is None:
        return fill("notebook.html", folder=str(experiment.folder), empty=EMPTY, key="empty")
    first = evidence.first
    palette = Palette.of(evidence.initializers)
    drawing = overview(first, palette).draw()
    light, dark = palette.variables
    # Ids and the style are of this content alone, so that several results stand on one page.
    key = hashlib.sha256("".join([light, drawing.alternative, drawing.title]).encode()).hexdigest()[:8]
    combinations = answers.answers(first)
    figure = figures.inline(drawing, palette, f"ib{key}-")
    return fill(
        "notebook.html",
        folder=str(experiment.folder),
        key=key,
        light=Markup(light),
        dark=Markup(dark),
        title=answers.title(first),
        evidence=narrative.evidence(evidence.last, evidence.seeds, evidence.images),
        notices=_notices(experiment, evidence),
        warnings=answers.warnings(evidence),
        headline=answers.headline(evidence),
        answers=combinations[: limits.MAX_FIRST_ANSWERS],
        legend=_legend("".join(answer.accuracy for answer in combinations), figure),
        left_out=max(0, len(combinations) - limits.MAX_FIRST_ANSWERS),
        caption=drawing.title,
        figure=Markup(figure),
    )


def _legend(accuracies: str, figure: str) -> list[str]:
    """Return what the marks of accuracies in the answers and in the figure mean."""
    interval, few = "±: 95% interval of the mean over seeds.", "†: contains the true mean less often"
    return [
        *[interval] * ("±" in accuracies or "+" in accuracies),
        *[f"{few} (runs failed or on a plateau; skewed or all equal)."] * ("†" in accuracies + figure),
    ]


def _notices(experiment: Experiment, evidence: Evidence) -> list[str]:
    """Return a line for each thing that limits the results: missing cells, the data, seeds that were added."""
    grid, trained, expected = experiment.grid, evidence.frame["cell"].nunique(), len(experiment)
    missing = f"{expected - trained:,} of the {expected:,} cells are not trained, so these results are preliminary."
    return [
        *[missing] * (trained < expected),
        *cautions(grid.sources.values()),
        *added_seeds(grid, experiment.seeds_seen),
    ]
