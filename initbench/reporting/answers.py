"""The answer for each combination in words: what to use, how sure it is, what settles it; and the general sentences."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from initbench import stats
from initbench.reporting import narrative, numbers
from initbench.reporting.evidence import EQUIVALENT_WITHIN, RATE, Evidence
from initbench.reporting.limits import MAX_HALF_WIDTH, MAX_NAMED, MAX_OPEN_NAMED, MAX_SHOWN_SEEDS
from initbench.reporting.names import PERCEPTRON
from initbench.reporting.names import setting as setting_name
from initbench.reporting.names import title as title_of
from initbench.spec import seed_rule
from initbench.spec.grid import Grid

# Whose default for the weights of a dense layer an initializer is: the first of these that is in the grid is compared.
DEFAULTS = {
    "torch_linear_default": "PyTorch",
    "keras_default": "Keras",
    "glorot_uniform": "Keras",
    "lecun_truncated_normal": "Flax",
}


@dataclass(frozen=True)
class Answer:
    """The answer for one combination, in words.

    Parameters
    ----------
    combination
        Its index in `Evidence.combinations`.
    title
        Its name: `relu, cross_entropy`.
    seeds
        The largest number of seeds of an initializer.
    kind
        `decided` (one initializer is left), `tie` (all that are left are equivalent), `open` (several are left),
        `untested` (too few seeds for a test), `alone` (one initializer) or `failed` (none trained).
    names
        The recommended initializers, the leader first; zeros last where there is no hidden layer.
    not_ruled_out
        Those that are more than a point lower, but not significantly worse.
    recommendation, certainty, margin
        A sentence each: what to use, how sure that is, and how far it is from the usual default (or empty).
    accuracy, accuracy_of
        The mean test accuracy with its interval, and the initializer that has it: the leader, unless a test shows that
        it is worse than another.
    certainty_label, margin_label
        The same for a table.
    warnings
        A line for each fact that changes the advice.
    details
        `narrative.verdict`.
    command
        The command that settles what is open, with comparisons that hold at every look; empty where nothing is open.
    """

    combination: int
    title: str
    seeds: int
    kind: str
    names: tuple[str, ...]
    not_ruled_out: tuple[str, ...]
    recommendation: str
    accuracy: str
    accuracy_of: str
    certainty: str
    certainty_label: str
    margin: str
    margin_label: str
    warnings: tuple[str, ...]
    details: str
    command: str


def answers(evidence: Evidence, command: Sequence[str] = ()) -> list[Answer]:
    """Return the answer for each of `evidence.combinations`.

    `command` is the one that runs the experiment, in words; by default `initbench run NAME.toml`.
    """
    within, default = evidence.grid.equivalent_within, default_of(evidence)
    parts = [_Combination(evidence, i, title, rows) for i, (title, rows) in enumerate(evidence.combinations)]
    settle = _command(evidence, parts, command)
    return [
        Answer(
            combination=part.index,
            title=part.title,
            seeds=part.seeds,
            kind=part.kind,
            names=part.names,
            not_ruled_out=tuple(row["initializer"] for row in part.others),
            recommendation=_recommendation(part),
            accuracy_of="" if part.first is None else str(part.first["initializer"]),
            accuracy=numbers.marked(part.first) if part.first is not None else "–",
            certainty=_certainty(part),
            certainty_label=_certainty_label(part),
            **_margin(part, default),
            warnings=tuple(_warnings(part)),
            details=narrative.verdict_of(part.rows, within),
            command=settle if part.is_open or _edges(part) else "",
        )
        for part in parts
    ]


class _Combination:
    """The rows of a combination, and what follows from them."""

    def __init__(self, evidence: Evidence, index: int, title: str, table: pd.DataFrame) -> None:
        self.evidence, self.index, self.title = evidence, index, title
        self.rows = rows = evidence.records[index]
        self.seeds = int(max(row["seeds"] for row in rows))
        self.within = evidence.grid.equivalent_within
        self.no_hidden_layer = _no_hidden_layer(evidence, rows[0])
        self.decided_at, self.decided_at_if_declared = evidence.decided_at[index]
        self.rates = _own_rates(evidence, table)
        leaders = [row for row in rows if row["leader"]]
        self.leader = leaders[0] if leaders else None
        self.left = narrative.candidates(rows)
        self.kind = self._kind()
        trained = [row for row in self.left if row["failed"] < row["seeds"]]
        best = [row for row in trained if row["standing"] == "best"]
        if self.kind in ("untested", "alone"):
            best = leaders
        elif not best:
            best = trained or self.left
        if self.no_hidden_layer:
            best = sorted(best, key=lambda row: row["initializer"] == "zeros")
        self.best = best
        self.others = [row for row in self.left if row not in best]
        # The one whose accuracy stands for all: the leader, unless a test shows that it is worse than another.
        self.first = self.leader if self.leader is None or self.leader in best else best[0]

    def _kind(self) -> str:
        if self.leader is None:
            return "failed"
        if not any(row["n_compared"] for row in self.rows):
            return "alone"
        if not self.left:
            return "untested"
        if len(self.left) == 1:
            return "decided"
        return "tie" if all(row["equivalent"] for row in self.left) else "open"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(row["initializer"]) for row in self.best)

    @property
    def best_rates(self) -> set[float]:
        """The learning rates at which the recommended initializers are best, where these were selected."""
        return {self.rates[name] for name in self.names if name in self.rates}

    @property
    def is_open(self) -> bool:
        return self.kind in ("open", "untested")

    @property
    def more_seeds(self) -> float:
        """The number of seeds that would decide, beyond those that there are: five or more."""
        return max(self.decided_at - self.seeds, seed_rule.BATCH)


def _no_hidden_layer(evidence: Evidence, row: narrative.Row) -> bool:
    """Return whether the networks of a combination, of which this is a row, have no hidden layer."""
    if "hidden" in evidence.combination:
        return not row["hidden"]
    if "model" in evidence.combination:
        return row["model"] == PERCEPTRON and evidence.grid.axes["hidden"] == ("",)
    return _is_flat(evidence.grid)


def _is_flat(grid: Grid) -> bool:
    """Return whether no network of a grid has a hidden layer."""
    return grid.axes["hidden"] == ("",) and grid.axes["model"] == (PERCEPTRON,)


def _recommendation(part: _Combination) -> str:
    """Say what to use, and what else cannot be ruled out."""
    names = part.names
    if part.kind == "failed":
        return f"{narrative.none_trained(part.rows)}: none can be recommended."
    if part.kind == "alone":
        return f"{names[0]} is the only initializer{_at_rate(part)}: there is nothing to compare it with."
    if part.kind == "untested":
        return f"{names[0]}{_at_rate(part)} leads, but no difference is tested."
    use = f"Use {either(names)}{_at_rate(part)}"
    if part.kind == "decided":
        # Every other is significantly worse than some initializer, so the one that is left is better than all.
        tested = "" if narrative.all_tested(part.rows) else " that was tested"
        return f"{use}: significantly better than every other{tested}."
    if not part.others:
        equal = "" if part.kind == "tie" else ", which does not show that they are equal"
        return f"{use}: no significant difference{equal}."
    behind = [narrative.named(row, f"{narrative.points_of(row)} lower") for row in part.others[:MAX_OPEN_NAMED]]
    if len(part.others) > len(behind):
        behind.append(f"{len(part.others) - len(behind)} more")
    verb = "is" if len(part.others) == 1 else "are"
    alike = ": no significant difference" * (len(names) > 1)
    return f"{use}{alike}; {numbers.listed(behind)} {verb} not ruled out."


def _at_rate(part: _Combination) -> str:
    """Say at which learning rate of its own each is best, where that was selected; else an empty string."""
    chosen = [f"{part.rates[name]:g}" for name in part.names if name in part.rates][:MAX_NAMED]
    if not chosen:
        return ""
    if len(set(chosen)) == 1:
        return f" at learning rate {chosen[0]}"
    return f" (at learning rates {numbers.listed(chosen)})"


def _own_rates(evidence: Evidence, rows: pd.DataFrame) -> dict[str, float]:
    """Return the learning rate of each initializer of a combination, where it was selected; else nothing."""
    if evidence.selected_from == 1:
        return {}
    runs = evidence.runs_of(rows, evidence.frame)
    return dict(zip(runs["initializer"].astype(str), runs[RATE].astype(float), strict=True))


def _certainty(part: _Combination) -> str:
    """Say how sure the recommendation is, and what a choice costs at most until it is."""
    within = numbers.in_points(part.within or 0.0)
    if part.kind == "failed":
        return "Nothing can be compared."
    if part.kind == "alone":
        return "There is one initializer."
    if part.kind == "untested":
        few = "one seed" if narrative.has_one_seed(part.rows) else "too few common seeds"
        return f"With {few} any difference may be chance."
    if part.kind == "decided":
        tested = sum(row["standing"] != "" or row["significant"] for row in part.rows)
        at_looks = ", at whichever number of seeds one looks" * part.evidence.until_decided
        equivalent = [row for row in part.rows if row["equivalent"] and row not in part.best]
        most = max((row["regret_bound"] for row in equivalent), default=math.nan)
        costs = f"cost{'s' * (len(equivalent) == 1)} at most {numbers.at_most(most)} points"
        too = f"; {narrative.some([row['initializer'] for row in equivalent])} {costs}" * bool(equivalent)
        assumed = ", if differences are normal" * any(row["rotation_only"] and row["significant"] for row in part.rows)
        return f"Decided: the best of {tested} initializers with 95% confidence{at_looks}{assumed}{too}."
    if part.kind == "tie":
        which = "either" if len(part.left) == 2 else "any of them"
        most = numbers.at_most(max(row["regret_bound"] for row in part.left))
        return f"Tie within {within}: choosing {which} costs at most {most} points."
    return f"{_open(part)}: {_seeds_missing(part)}{_safe(part)}."


def _open(part: _Combination) -> str:
    rule = part.evidence.grid.seed_rule
    if not part.evidence.until_decided or rule is None:
        return "Open"
    return f"Open {'after' if part.seeds < rule.max_seeds else 'at the maximum of'} {part.seeds} seeds"


def seeds_missing(evidence: Evidence, index: int) -> str:
    """Say how many seeds would decide one of `evidence.combinations`; empty unless it is open."""
    part = _Combination(evidence, index, *evidence.combinations[index])
    return _seeds_missing(part) if part.kind == "open" else ""


def _seeds_missing(part: _Combination) -> str:
    """Say how many seeds would decide."""
    if math.isnan(part.decided_at):
        return "some initializers have too few common seeds"
    if part.decided_at <= MAX_SHOWN_SEEDS:
        return f"{numbers.about(part.more_seeds)} more seeds would decide"
    text = f"{numbers.about(part.decided_at)} seeds would be needed"
    if part.within is not None:
        return text
    if part.decided_at_if_declared <= MAX_SHOWN_SEEDS:
        more = max(part.decided_at_if_declared - part.seeds, seed_rule.BATCH)
        return f"{text}, or {numbers.about(more)} more if {numbers.in_points(EQUIVALENT_WITHIN)} do not matter"
    return text


def _safe(part: _Combination) -> str:
    """Say which recommended choice costs the least at most; if that is zeros, which works here only, another too."""
    bounded = sorted(
        (row for row in part.best if row["regret_bound"] <= MAX_HALF_WIDTH), key=lambda row: row["regret_bound"]
    )
    if not bounded:
        return ""
    shown = bounded[:1]
    if part.no_hidden_layer and shown[0]["initializer"] == "zeros":
        shown += bounded[1:2]
    bounds = [f"{row['initializer']}, at most {numbers.at_most(row['regret_bound'])}" for row in shown]
    bounds[0] += " points below the best"
    until = "until then " * (part.decided_at <= MAX_SHOWN_SEEDS)
    others = either([row["initializer"] for row in part.others])
    cause = f", because {others} is not ruled out" if others else ""
    return f"; {until}the safest is {' (or '.join(bounds)}{')' * (len(bounds) > 1)}, with 95% confidence{cause}"


def _certainty_label(part: _Combination) -> str:
    """The certainty for a table."""
    if part.kind == "open" and not math.isnan(part.decided_at):
        is_far = part.decided_at > MAX_SHOWN_SEEDS
        return f"{'' if is_far else 'about '}{numbers.whole(math.inf if is_far else part.more_seeds)} more seeds"
    too_few = "one seed" if narrative.has_one_seed(part.rows) else "too few common seeds"
    return {
        "failed": "all failed",
        "alone": "one initializer",
        "untested": too_few,
        "decided": "decided",
        "tie": f"tie within {part.within or 0:g}",
        "open": "open",
    }[part.kind]


def default_of(evidence: Evidence) -> tuple[str, str] | None:
    """Return the initializer that `Answer.margin` compares with, and whose default it is; None without one."""
    return next(((name, DEFAULTS[name]) for name in DEFAULTS if name in evidence.initializers), None)


def _margin(part: _Combination, default: tuple[str, str] | None) -> dict[str, str]:
    """Return the sentence and the label that compare with the usual default."""
    rows = [row for row in part.rows if row["initializer"] == default[0]] if default else []
    if default is None or part.leader is None or part.kind == "alone" or not rows:
        return {"margin": "", "margin_label": "–"}
    row, leader = rows[0], part.leader["initializer"]
    called, label = f"{default[0]}, {default[1]}’s default", "–"
    if row["leader"] and part.first is part.leader:
        return {"margin": f"{default[0]} is {default[1]}’s default.", "margin_label": "is the default"}
    value, interval = numbers.points(row["difference"], row["difference_low"], row["difference_high"])
    if part.first is part.leader and value != "–":
        label = f"{'' if value.startswith('−') else '+'}{value} {interval}".strip()
    low, is_worse = row["difference_low"], row["significant"]
    if row["failed"] == row["seeds"]:
        sentence = f"{narrative.none_trained(rows).replace('run', f'run of {called},', 1)}."
    elif is_worse and part.first is part.leader and (low > 0 or (row["worse_than"] == leader and low == 0)):
        sentence = f"{leader} is {value} points {interval} better than {called}."
    elif is_worse:
        sentence = f"{called}, is significantly worse than {row['worse_than']}."
    elif row["standing"]:
        sentence = f"No significant difference from {called}."
    else:
        sentence = f"The difference from {called}, is not tested."
    return {"margin": sentence, "margin_label": label}


def _warnings(part: _Combination) -> list[str]:
    """Return the facts that change the advice in one combination."""
    lines = []
    if part.no_hidden_layer and "zeros" in part.names and part.kind != "untested":
        lines += ["zeros works only because the network has no hidden layer.", *_next_best(part)]
    lines += _edges(part)
    for row in part.best:
        if 0 < row["failed"] < row["seeds"]:
            lines.append(f"{narrative.failed_runs(row, str(row['initializer']))}.")
    if part.first is not None and (flag := numbers.flag(part.first)):
        lines.append(f"† The interval of {part.first['initializer']}: {flag}.")
    return lines


def _next_best(part: _Combination) -> list[str]:
    """Name the best initializer besides zeros, where zeros is the only one that is recommended."""
    others = [
        row
        for row in part.rows
        if row["initializer"] != "zeros" and row["failed"] < row["seeds"] and not math.isnan(row["difference"])
    ]
    if len(part.best) > 1 or not others:
        return []
    row = min(others, key=lambda row: row["difference"])
    return [f"The best other than zeros is {row['initializer']}, {narrative.points_of(row)} lower."]


def _edges(part: _Combination) -> list[str]:
    """Name the recommended initializers whose own best learning rate is the lowest or the highest of the grid."""
    grid = part.evidence.grid.axes[RATE]
    lines = []
    for edge, end, beyond in ((min(grid), "lowest", "lower"), (max(grid), "highest", "higher")):
        names = [name for name in part.names if part.rates.get(name) == edge]
        if names:
            lines.append(
                f"{narrative.some(names)} {'is' if len(names) == 1 else 'are'} best at learning rate {edge:g}, "
                f"the {end} of the grid: a {beyond} one may be better."
            )
    return lines


def _command(evidence: Evidence, parts: Sequence[_Combination], command: Sequence[str]) -> str:
    """Return the command that settles every combination that is open; it trains all combinations together.

    Where a recommended initializer is best at the lowest or highest learning rate, it adds a rate beyond that first.
    The rule compares within each learning rate. So for initializers at rates of their own, it trains the one rate at
    which all that are recommended are best, as another experiment; empty if they are best at several.
    """
    words = [*(command or ("initbench", "run", f"{evidence.grid.name}.toml"))]
    if rates := _more_rates(evidence, parts):
        return shlex.join(_with(words, "learning_rate", ",".join(f"{rate:g}" for rate in rates)))
    unsettled = [part for part in parts if part.is_open]
    rule = evidence.grid.seed_rule if evidence.until_decided else None
    own: set[float] = set().union(*(part.best_rates for part in unsettled))
    if len(own) > 1:
        return ""
    if own:
        (rate,) = own
        words = _with(_with(words, "name", f"{evidence.grid.name}-{rate:g}"), "learning_rate", f"{rate:g}")
    elif rule and all(part.seeds < rule.max_seeds for part in unsettled):
        return shlex.join(words)  # it goes on
    needed = [part.decided_at for part in unsettled]
    if evidence.grid.equivalent_within is None and any(n > MAX_SHOWN_SEEDS for n in needed):
        words = _with(words, "equivalent_within", f"{EQUIVALENT_WITHIN:g}")
        needed = [part.decided_at_if_declared for part in unsettled]
    most = max([n for n in needed if not math.isnan(n)], default=0.0)
    limit = ""
    if most > seed_rule.MAX_SEEDS / 2 or rule:  # half of the experiments take more seeds than estimated
        limit = f",max={max(MAX_SHOWN_SEEDS, 2 * rule.max_seeds if rule else 0)}"
    return shlex.join(_with(words, "seed", f'{{until="decided"{limit}}}'))


def _with(words: Sequence[str], key: str, value: str) -> list[str]:
    """Return a command with `--set KEY=VALUE` at its end, in place of an earlier one of this key."""
    remaining: list[str] = []
    for word in words:
        if remaining and remaining[-1] == "--set" and word.partition("=")[0].rpartition(".")[2] == key:
            remaining.pop()
        else:
            remaining.append(word)
    return [*remaining, "--set", f"{key}={value}"]


def _more_rates(evidence: Evidence, parts: Sequence[_Combination]) -> list[float]:
    """Return the grid's learning rates, and one beyond each end at which a recommended initializer is best.

    The ratio of the new rate to the end is that of the two rates at this end. Empty where no end is such.
    """
    best: set[float] = set().union(*(part.best_rates for part in parts))
    if not best:
        return []
    rates = sorted(evidence.grid.axes[RATE])
    ends = ((rates[0], rates[1]), (rates[-1], rates[-2]))
    beyond = [float(f"{end**2 / neighbour:.3g}") for end, neighbour in ends if end in best]
    return sorted([*rates, *beyond]) if beyond else []


def either(names: Sequence[str]) -> str:
    """Names of which one is to be chosen: `a, b or c`; of many the first, and how many more."""
    shown = narrative.shortened(names)
    return ", ".join(shown[:-1]) + " or " + shown[-1] if len(shown) > 1 else "".join(shown)


def title(evidence: Evidence) -> str:
    """Return the question that the page answers: its title."""
    settings, combinations = evidence.combination, evidence.combinations
    if len(combinations) > 1:
        words = [setting_name(setting) for setting in settings]
        return f"Which weight initializer, with which {numbers.listed(words)}?"
    row = combinations[0][1].iloc[0]
    first, *rest = [title_of([setting], row) for setting in settings]
    return f"Which weight initializer for {first}{' with ' * bool(rest)}{numbers.listed(rest)}?"


def headline(evidence: Evidence) -> list[str]:
    """Return the general sentences of several combinations: at most two; empty for one, which its answer covers.

    Where the learning rate is an axis, of each initializer at its own best rate.
    """
    evidence = evidence.first
    keys, table = evidence.combination, evidence.verdicts
    if len(evidence.combinations) == 1:
        return []
    led = table.groupby(keys, observed=True, dropna=False)["leader"].transform("any")
    alive = table[led]
    if not len(alive):
        return [f"{narrative.none_trained(narrative.records(table))}, so no initializer can be recommended."]
    compared = alive[alive.groupby(keys, observed=True, dropna=False)["n_compared"].transform("max") > 0]
    sentences = []
    if not len(compared):
        sentences.append("Only one initializer was trained, so there is nothing to compare.")
    elif not compared["p"].notna().any():
        cause = "one seed" if compared["seeds"].max() == 1 else "too few common seeds"
        sentences.append(f"With {cause} no difference can be tested: any difference may be chance.")
    else:
        sentences += [_mostly(evidence, compared), _jointly(evidence, compared)]
        if evidence.selected_from > 1:
            sentences[0] = f"With each initializer at its own best learning rate, {sentences[0]}"
    return sentences


def best_configuration(evidence: Evidence) -> str:
    """Return the sentence on the configuration with the highest validation accuracy; empty for one combination."""
    evidence = evidence.first
    table = evidence.verdicts[evidence.verdicts["failed"] < evidence.verdicts["seeds"]]
    if len(evidence.combinations) == 1 or not len(table):
        return ""
    best = table.sort_values(stats.SELECTION_METRIC, ascending=False, kind="stable").iloc[0]
    return (
        f"{best['initializer']} with {title_of(evidence.combination, best)} has the highest validation accuracy of all "
        f"{len(evidence.verdicts)} configurations: {numbers.percent(best['mean_all'])} on test (combinations are not "
        "compared by a test)."
    )


def of_all(count: int, total: int) -> str:
    """A part of several: `both`, `all 3` or `2 of the 3`."""
    return f"{count} of the {total}" if count < total else "both" if total == 2 else f"all {total}"


def _zeros_last(evidence: Evidence, names: Sequence[str]) -> list[str]:
    """Names with zeros last, where no network has a hidden layer."""
    return sorted(names, key=lambda name: name == "zeros") if _is_flat(evidence.grid) else list(names)


def _mostly(evidence: Evidence, table: pd.DataFrame) -> str:
    """Say which initializers are among the best in most combinations: each combination on its own."""
    total = len(table.drop_duplicates(evidence.combination))
    counts = (table["standing"] == "best").groupby(table["initializer"], sort=False).sum()
    zeros = int(counts.get("zeros", 0)) if _is_flat(evidence.grid) else 0
    others = counts.drop("zeros") if zeros else counts
    most = int(others.max()) if len(others) else 0
    if not most:
        only = f"Only zeros is best or tied, in {of_all(zeros, total)} combinations"
        return f"{only}, and only because there is no hidden layer." if zeros else "No initializer is best or tied."
    names = list(others.index[others == most])
    verb = "is" if len(names) == 1 else "are"
    text = f"{narrative.some(names)} {verb} best or tied in {of_all(most, total)} combinations"
    if len(names) == 1:
        by_combination = (table["standing"] != "").groupby([table[key] for key in evidence.combination], observed=True)
        is_alone = (by_combination.transform("sum") == 1) & (table["standing"] == "best")
        alone = int((is_alone & (table["initializer"] == names[0])).sum())
        if alone:
            text += f" and significantly better than every other in {alone if alone < most else 'all of these'}"
    text += ", tested one by one"
    if zeros:
        combinations = of_all(zeros, total) if zeros == total else str(zeros)
        text += f"; zeros is in {combinations}, but only because there is no hidden layer"
    return f"{text}."


def _jointly(evidence: Evidence, table: pd.DataFrame) -> str:
    """Say in how many combinations each initializer is significantly worse, in all combinations together."""
    names = list(dict.fromkeys(table["initializer"]))
    total = len(table.drop_duplicates(evidence.combination))
    together = f"Tested together (at most 5% for any false claim in {of_all(total, total)} combinations), "
    worse = table.groupby("initializer", observed=True)["significant_overall"].sum()
    if not worse.any():
        return f"{together}no initializer is significantly worse than another."
    tested = ((table["standing"] != "") & (table["failed"] < table["seeds"])) | table["significant"]
    everywhere = tested.groupby(table["initializer"], observed=True).sum()
    never = _zeros_last(evidence, [name for name in names if not worse[name] and everywhere[name] == total])
    ordered = sorted((name for name in names if worse[name]), key=lambda name: -worse[name])
    counts = [f"{name} in {worse[name]}" for name in ordered]
    counts[0] = f"{ordered[0]} is significantly worse than another in {of_all(int(worse[ordered[0]]), total)}"
    none = f"; {narrative.some(never)} in none" * bool(never)
    return f"{together}{narrative.some(counts)}{none}."


def warnings(evidence: Evidence) -> list[str]:
    """Return a line for each fact about the whole experiment that changes the advice."""
    first = evidence.first
    parts = [_Combination(first, i, title, rows) for i, (title, rows) in enumerate(first.combinations)]
    lines = []
    zeros = [part for part in parts if part.no_hidden_layer and "zeros" in part.names]
    if zeros:
        reason = "because the network has" if _is_flat(evidence.grid) else "where a network has"
        lines.append(f"zeros works only {reason} no hidden layer.")
    edges = [part for part in parts if _edges(part)]
    if len(parts) == 1:
        lines += _edges(parts[0])
    elif edges:
        ends = [end for end in ("lowest", "highest") if any(end in line for part in edges for line in _edges(part))]
        lines.append(
            f"In {of_all(len(edges), len(parts))} combinations a recommended initializer is best at the "
            f"{' or '.join(ends)} learning rate of the grid: one beyond may be better."
        )
    return lines + _failures(evidence) + _few_seeds(first)


def _failures(evidence: Evidence) -> list[str]:
    """Say how many runs failed, and of which initializers."""
    last = evidence.last
    total, failed, diverged = len(last), int(last["failed"].sum()), int(last["diverged"].sum())
    if not failed:
        return []
    outcome = (
        "diverged"
        if failed == diverged
        else "diverged or stayed at chance"
        if diverged
        else "learned nothing (stayed at chance)"
    )
    counts = last.groupby(last["initializer"].astype(str), sort=False)["failed"].agg(["sum", "size"])
    counts = counts[counts["sum"] > 0].sort_values("sum", ascending=False, kind="stable")
    names = [f"{'all' if row['sum'] == row['size'] else row['sum']} of {name}" for name, row in counts.iterrows()]
    names = list(counts.index) if len(names) == 1 and counts["sum"].iloc[0] < counts["size"].iloc[0] else names
    affected = last.loc[last["failed"], evidence.combination].drop_duplicates()
    is_one = len(affected) == 1 < len(evidence.combinations)
    only = f" with {title_of(evidence.combination, affected.iloc[0])}" * is_one
    return [f"{failed:,} of {numbers.plural(total, 'run')} {outcome}: {narrative.some(names)}{only}."]


def _few_seeds(evidence: Evidence) -> list[str]:
    """Say that the seeds are too few for a test, and what to do."""
    seeds, count = evidence.seeds, len(evidence.initializers)
    if evidence.until_decided or count < 2:
        return []
    if seeds == 1:
        text = "With one seed there is no interval and no test: any difference may be chance."
    elif seeds == 2:
        text = "With two seeds intervals are very wide, and few differences can be significant."
    elif seeds < stats.MIN_SEEDS or hardly_decides(count, seeds):
        text = f"With {seeds} seeds and {count} initializers, even large differences can hardly be significant."
    else:
        return []
    return [f"{text} Use five seeds or more: --set seed=5."]


def hardly_decides(initializers: int, seeds: int) -> bool:
    """Return whether the permutation test cannot show one of several initializers to be better than the others.

    If the others are equal, k^(1 − n) of all permutations show as much as what was observed.
    """
    return initializers > 2 and initializers ** (1 - seeds) > 1 - stats.CONFIDENCE
