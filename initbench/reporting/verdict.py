"""The verdict on one's own initializers: three sentences on each, which compare it with the others, the field."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from initbench import stats
from initbench.reporting import narrative, numbers
from initbench.reporting.answers import either, of_all, seeds_missing
from initbench.reporting.evidence import RATE, Evidence
from initbench.reporting.names import title


@dataclass(frozen=True)
class Verdict:
    """The verdict on one initializer.

    Its name; the sentences, three at most; `differences`, of its mean over all combinations from that of each of the
    field: the other's name, the difference with its interval, and whether it is significant; and what they are.
    """

    initializer: str
    sentences: tuple[str, ...]
    differences: tuple[tuple[str, str, str], ...] = ()
    note: str = ""


def of_own(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on each initializer of an experiment that is, or has in some layers, a function of one's own.

    Functions of a library are others. Nothing where there is no other to compare with.
    """
    functions = {function.name for function in evidence.own if function.kind == "initializer" and not function.library}
    own = [name for name in evidence.initializers if any(function in name for function in functions)]
    return verdicts(evidence, own) if len(own) < len(evidence.initializers) and own else []


def verdicts(evidence: Evidence, own: Sequence[str]) -> list[Verdict]:
    """Return the verdict on each of one's own initializers, the one with the highest validation accuracy first.

    The others of the experiment are the field. Where the learning rate is an axis, each initializer is at its own best
    rate, which is selected on validation accuracy; what is compared is test accuracy.

    1. In how many combinations it leads, shows no significant difference from the leader, is significantly worse than
       another initializer, or failed: `stats.verdicts`, one combination at a time, and, where it says so, all together.
    2. How far its mean over all combinations is from that of the best of the field: `stats.mean_pairs`. The best of the
       field has the highest mean validation accuracy; the interval holds for all pairs, so also for this one.
    3. In which combinations it gains and loses most against that one, with intervals that hold for all combinations
       together (`stats.pairs`); which runs failed; and, where nothing is decided, how many seeds would decide.

    With a rule that adds seeds until all is decided, tests of a fixed number of seeds do not hold. Then all is from
    `stats.verdicts_at_every_look` and `pairs_at_every_look`. Of several combinations, the second sentence has the
    number in which it is significantly better or worse than the best of the field, in place of the mean.
    """
    first = evidence.first
    field = [name for name in first.initializers if name not in own]
    trained = [name for name in first.initializers if name in own]
    accuracy = _mean_validation_accuracy(first)
    trained.sort(key=lambda name: -accuracy.get(name, 0.0))
    best_of_field = max(field, key=lambda name: accuracy.get(name, 0.0), default="")
    pairs = _pairs(first)
    overall = _overall_pairs(first, pairs)
    written = [_verdict(_Comparison(evidence, first, name, field, best_of_field, pairs, overall)) for name in trained]
    untrained = [name for name in own if name not in trained]
    return written + [Verdict(name, (f"No run of {name} was trained.",)) for name in untrained]


def _mean_validation_accuracy(first: Evidence) -> dict[str, float]:
    """Return the mean validation accuracy of each initializer over the combinations; a failed run counts as it is."""
    rows = first.verdicts
    alive = rows[rows.groupby(first.combination, observed=True, dropna=False)["leader"].transform("any")]
    means = (alive if len(alive) else rows).groupby("initializer", sort=False)[stats.SELECTION_METRIC].mean()
    return {str(name): float(value) for name, value in means.items()}


def _pairs(first: Evidence) -> pd.DataFrame:
    """Return the comparisons of all pairs in each combination: for all combinations together, or at every look."""
    if first.until_decided:
        return first.pairs
    return stats.pairs(first.frame, first.combination, chance=first.chance, combinations=len(first.combinations))


def _overall_pairs(first: Evidence, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return `stats.mean_pairs`; with a rule that adds seeds, of one combination its pairs, and of several nothing."""
    if not first.until_decided:
        return stats.mean_pairs(first.scores, stats.resolution(first.outcomes, chance=first.chance))
    if len(first.combinations) > 1 or not first.verdicts["leader"].any():  # no initializer leads if every run failed
        return pd.DataFrame(columns=["initializer", "other"])
    swapped = {
        "initializer": "other",
        "other": "initializer",
        "pairs": "seeds",
    }  # `pairs` has the other's minus its own
    table = pairs[pairs["difference"].notna()].rename(columns=swapped)
    return table.assign(combinations=1, significant=table["p"] <= 1 - stats.CONFIDENCE)


@dataclass(frozen=True)
class _Comparison:
    """One initializer, `name`, with the field, and `rival`, the best of it; `first` has each at its own best rate."""

    evidence: Evidence
    first: Evidence
    name: str
    field: Sequence[str]
    rival: str
    pairs: pd.DataFrame
    overall_pairs: pd.DataFrame

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Its rows of `stats.verdicts`, one for each combination."""
        return self.first.verdicts[self.first.verdicts["initializer"] == self.name]

    @property
    def total(self) -> int:
        """The number of combinations."""
        return len(self.first.combinations)

    @property
    def best_of_field(self) -> str:
        """The rival's name, and that it is the best of the field if there are others."""
        return self.rival + ", the best of the field by validation accuracy," * (len(self.field) > 1)

    @cached_property
    def overall(self) -> pd.DataFrame:
        """Its rows of `overall_pairs`, by the name of the other initializer."""
        return self.overall_pairs[self.overall_pairs["initializer"] == self.name].set_index("other")

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Its mean test accuracy minus that of the rival, a row for each combination, the largest first."""
        rows = self.pairs[(self.pairs["initializer"] == self.rival) & (self.pairs["other"] == self.name)]
        return rows[rows["difference"].notna()].sort_values("difference", ascending=False, kind="stable")


def _verdict(part: _Comparison) -> Verdict:
    sentences = [_combinations(part)]
    if part.rival:
        several_looks = part.first.until_decided and part.total > 1
        sentences += [_against(part) if several_looks else _overall(part), _extremes(part)]
    return Verdict(part.name, tuple(filter(None, sentences)), *_differences(part))


def _differences(part: _Comparison) -> tuple[tuple[tuple[str, str, str], ...], str]:
    """Return the differences over all combinations from each of the field, in its order, and the note on them."""
    rows: Any = part.overall[part.overall.index.isin(part.field)]
    if not len(rows):
        return (), ""
    over = f" over {of_all(int(rows['combinations'].iloc[0]), part.total)} combinations" * (part.total > 1)
    hold = "the intervals hold for all pairs of initializers together" + " and at every look" * part.first.until_decided
    note = f"Mean test accuracy of {part.name}{over}, minus that of each other; {hold}."
    order = [name for name in part.field if name in rows.index]
    table = tuple((name, _points(rows.loc[name]), _significance(part, rows.loc[name], short=True)) for name in order)
    return table, note if rows["difference_low"].notna().any() else note.partition(";")[0] + "."


def _combinations(part: _Comparison) -> str:
    """Say in how many combinations it leads, is not significantly different, significantly worse, or failed."""
    rows, total = part.rows, part.total
    failed = rows["failed"] == rows["seeds"]
    worse = rows["significant"] & ~failed
    left = _alone(part, "significant")  # also where the leader by validation accuracy is worse on test
    leads = (rows["leader"] | left) & ~worse & ~failed
    alike = (rows["standing"] != "") & ~leads & ~worse & ~failed
    rates = "With each initializer at its own best learning rate, " * (part.first is not part.evidence)
    if not part.first.verdicts["p"].notna().any():
        cause = "one seed" if narrative.has_one_seed(narrative.records(rows)) else "too few common seeds"
        leading = f"leads in {of_all(int(leads.sum()), total)} combinations" if total > 1 else "leads"
        verb = leading if leads.any() else "does not lead"
        return f"With {cause} no difference is tested, and any may be chance: {part.name} {verb}."
    open_ = int((rows["standing"] == "open")[alike].sum())
    better, better_together = int(left.sum()), int(_alone(part, "significant_overall").sum())
    behind = f"in {open_} more than a point lower, but not ruled out" * bool(open_)
    leading = f"in {better or 'none'} significantly better than every other"
    if total == 1 and not better:
        leading = f"not significantly better than {either(_not_worse(part))}" * bool(_not_worse(part))
    worse_together = int(rows["significant_overall"][worse].sum())
    counts = (
        ("leads", leads, leading, _together(better, better_together, total)),
        ("is not significantly different from the leader", alike, behind, ""),
        ("is significantly worse than another", worse, "", _together(int(worse.sum()), worse_together, total)),
        ("failed in every run", failed, "", ""),
        ("is not tested", ~(failed | worse | leads | alike), "", ""),
    )
    clauses: list[str] = []
    for phrase, which, *notes in counts:
        if not (count := int(which.sum())):
            continue
        noted = ", ".join(filter(None, notes))
        verb = f"{phrase}{f' ({noted})' * bool(noted)}"
        if total == 1:
            clauses.append(f"{part.name} {verb.replace('(in 1 ', '(')}")
        elif not clauses:
            clauses.append(f"in {of_all(count, total)} combinations {part.name} {verb}")
        else:
            clauses.append(f"in {count} it {verb}")
    text = f"{rates}{numbers.listed(clauses)}."
    return text if total == 1 and not rates else text[0].upper() + text[1:]


def _together(alone: int, together: int, total: int) -> str:
    """Say how many of the combinations that are significant alone are so with all tested together."""
    if not alone or total == 1:
        return ""
    tested = f"with {of_all(total, total)} tested together"
    if together == alone:
        return f"also {tested}"
    return f"{together} of them also {tested}" if together else f"{'none' if alone > 1 else 'not'} {tested}"


def _not_worse(part: _Comparison) -> list[str]:
    """Return the others of one combination that are not significantly worse than another."""
    table = part.first.verdicts
    return list(table["initializer"][~table["significant"].astype(bool) & (table["initializer"] != part.name)])


def _alone(part: _Comparison, significant: str) -> pd.Series:
    """Return for each of its rows whether it is left, and every other is worse by this column of `verdicts`."""
    alone = pd.Series(False, index=part.rows.index)
    for _, rows in part.first.combinations:
        own = rows["initializer"] == part.name
        if own.any() and not own.all() and rows["standing"][own].iloc[0] and rows[significant][~own].all():
            alone[rows.index[own]] = True
    return alone


def _overall(part: _Comparison) -> str:
    """Say how far its mean over all combinations is from that of the best of the field."""
    if part.rival not in part.overall.index:
        return f"Its mean is not compared with that of {part.rival}: an initializer lacks runs, or every run failed."
    row: Any = part.overall.loc[part.rival]
    over = f" over {of_all(int(row['combinations']), part.total)} combinations" * (part.total > 1)
    shown = _points(row).replace("(", "(95% interval ", 1)
    outcome = f"{_significance(part, row)}{_others(part)}"
    return f"Its mean test accuracy{over} differs from that of {part.best_of_field} by {shown}: {outcome}."


def _against(part: _Comparison) -> str:
    """Say in how many combinations it is significantly better and worse than the best of the field, at every look."""
    significant = part.gains["p"] <= 1 - stats.CONFIDENCE
    ahead = part.gains["difference"] > 0
    better, worse = int((significant & ahead).sum()), int((significant & ~ahead).sum())
    counts = f"better in {better or 'none'} and significantly worse in {worse or 'none'}"
    if not better + worse:
        counts = "better or worse in none"
    return (
        f"Against {part.best_of_field} it is significantly {counts} of the {part.total} combinations, each tested "
        "alone; no mean over them is tested, because the results chose the seeds."
    )


def _significance(part: _Comparison, row: Any, *, short: bool = False) -> str:
    """Say whether a difference of means is significant, and whether it is shown to be within what does not matter."""
    within = part.first.grid.equivalent_within
    if pd.isna(row["difference_low"]):
        if part.first.until_decided:
            return "no significant difference" + ", with too few seeds for an interval" * (not short)
        if short:
            return "not tested"
        return f"with one {'common ' * (part.first.seeds > 1)}seed there is no interval and no test"
    margin = (within or 0.0) / 100
    equivalent = within is not None and -margin <= row["difference_low"] and row["difference_high"] <= margin
    same = f"equivalent within {numbers.in_points(within or 0.0)}"
    if row["significant"]:
        mean = "the mean is " * (part.total > 1 and not short)
        outcome = f"{mean}significantly {'better' if row['difference'] > 0 else 'worse'}"
        return f"{outcome}, but {same}" if equivalent else outcome
    caveat = ", which does not show that they are equal" * (not short)
    return same if equivalent else f"no significant difference{caveat}"


def _others(part: _Comparison) -> str:
    """Name the others of the field from which it differs significantly over all combinations."""
    table = part.overall[part.overall.index.isin(part.field) & part.overall["significant"].astype(bool)]
    table = table.drop(part.rival, errors="ignore")
    clauses = []
    for outcome, rows in (("better", table[table["difference"] > 0]), ("worse", table[table["difference"] < 0])):
        if len(rows):
            clauses.append(f"significantly {outcome} than {narrative.some(list(map(str, rows.index)))}")
    return f"; it is {numbers.listed(clauses)}" * bool(clauses)


def _extremes(part: _Comparison) -> str:
    """Say where it gains and loses most against the rival, which runs failed, and how many seeds would decide."""
    clauses = [*_gains(part), *_failures(part), *_seeds(part)]
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _gains(part: _Comparison) -> list[str]:
    """Say in which combinations it gains and loses most against the rival."""
    table, rival = part.gains, part.rival
    if len(table) and not table["difference"].any():
        if (part.rows["failed"] == part.rows["seeds"]).all():
            return []
        return [f"its test accuracy is that of {rival} at every seed: here it may set the same weights"]
    if len(table) < 2:
        return []
    together = f", in intervals for {of_all(part.total, part.total)} combinations together"
    together *= bool(table["difference_low"].notna().any() and not part.first.until_decided)
    shown = [(_points(row), f"{title(part.first.combination, row)}, {_points(row)}") for _, row in table.iterrows()]
    (best, most), (worst, least) = shown[0], shown[-1]
    if table["difference"].iloc[-1] >= 0:
        return [f"it is behind {rival} in no combination, and gains most with {most}{together}"]
    if table["difference"].iloc[0] <= 0:
        return [f"it is ahead of {rival} in no combination, and loses most with {least}{together}"]
    ends = [f"gains most with {most}"] * _differs(best) + [f"loses most with {least}"] * _differs(worst)
    return [f"against {rival} it {', and '.join(ends)}{together}"] * bool(ends)


def _differs(points: str) -> bool:
    """Return whether a difference does not round to zero."""
    return float(points.split(maxsplit=1)[0].replace("−", "-")) != 0


def _points(row: Any) -> str:
    value, interval = numbers.points(row["difference"], row["difference_low"], row["difference_high"])
    return f"{value} points {interval}".strip()


def _failures(part: _Comparison) -> list[str]:
    """Say how many of its runs failed, at all learning rates, and how many of the field's."""
    last = part.evidence.last
    names = last["initializer"].astype(str)
    rows = last[names == part.name]
    failed, diverged = int(rows["failed"].sum()), int(rows["diverged"].sum())
    if not failed:
        return []
    outcome = (
        "diverged" if failed == diverged else "stayed at chance" if not diverged else "diverged or stayed at chance"
    )
    others = last[names.isin(part.field)]
    rates = ", over all learning rates," * (part.first is not part.evidence and RATE in part.evidence.combination)
    of_field = f"of the field’s, {int(others['failed'].sum()):,} of {len(others):,}"
    count = f"{'all' if failed == len(rows) else f'{failed:,}'} of " * (len(rows) > 1)
    return [f"{count}its {numbers.plural(len(rows), 'run')}{rates} {outcome} ({of_field})"]


def _seeds(part: _Comparison) -> list[str]:
    """Say how many seeds would decide a single combination, or show the mean difference, where nothing is decided."""
    if part.rows["significant"].any():
        return []
    if part.total == 1:
        return list(filter(None, [seeds_missing(part.first, 0)]))
    if part.rival not in part.overall.index:
        return []
    row: Any = part.overall.loc[part.rival]
    target = abs(float(row["difference"]))
    if row["significant"] or not target or pd.isna(row["difference_std"]) or "equivalent" in _significance(part, row):
        return []
    compared = pd.DataFrame([row]).rename(columns={"seeds": "pairs"})
    needed = stats.power_analysis(compared, [target]).iloc[0][f"needed_{target:g}"]
    return [f"to show a mean difference as small as this with 80% probability takes {numbers.about(needed)} seeds"]
