"""The methods of an experiment as one paragraph of plain text, ready to paste into a paper."""

from collections.abc import Mapping, Sequence

from initbench.errors import printable
from initbench.reporting import limits, names, networks, numbers, own_functions, seeds
from initbench.reporting.cautions import added_seeds
from initbench.reporting.evidence import RATE, Evidence
from initbench.spec.columns import SETTINGS
from initbench.spec.grid import Grid, counted
from initbench.spec.signal import IMAGES, JACOBIAN_IMAGES

# The versions of an environment, by its key, as a paper names the software.
SOFTWARE = {"initbench": "initbench", "torch": "PyTorch", "numpy": "NumPy", "scipy": "SciPy", "python": "Python"}

MAX_LETTERS = 100_000


def methods(evidence: Evidence, environments: Sequence[Mapping[str, str]], seeds_seen: Sequence[int] = ()) -> str:
    """Return what was trained, how it was compared and with which software, as one paragraph of plain text.

    Parameters
    ----------
    evidence
        The derived tables of an experiment.
    environments
        The metadata of its parts: versions, CPUs, and whether the bits are reproducible.
    seeds_seen
        The numbers of seeds at which results were complete before seeds were added.
    """
    grid = evidence.grid
    sentences = [
        _question(evidence),
        *own_functions.sentences(evidence.own),
        _networks(evidence),
        _data(evidence),
        _training(grid),
        *_runs(evidence),
    ]
    sentences += [*_signal(evidence), *_statistics(evidence, seeds_seen), *_software(environments)]
    return printable(" ".join(filter(None, sentences)), MAX_LETTERS)


def _question(evidence: Evidence) -> str:
    """What was compared, and with what."""
    grid, initializers = evidence.grid, evidence.initializers
    axes = [setting for setting in grid.varying if setting not in ("initializer", "seed")]
    several = [f"{counted(len(grid.axes[setting]), setting)} ({_values(grid, setting)})" for setting in axes]
    fixed = [f"the {setting} {grid.axes[setting][0]}" for setting in ("activation", "loss") if setting not in axes]
    scopes = [f"in {len(evidence.combinations):,} combinations of {numbers.listed(several)}"] * (len(axes) > 1)
    scopes += [f"with {numbers.listed(several * (len(axes) == 1) + fixed)}"] * (len(axes) == 1 or bool(fixed))
    verb = "compared" if len(initializers) > 1 else "trained"
    count = numbers.plural(len(initializers), "weight initializer")
    return f"We {verb} {count} ({numbers.listed(initializers)}) {', '.join(scopes)}."


def _values(grid: Grid, setting: str) -> str:
    """The values of a setting, for people."""
    if setting == "dataset":
        return numbers.listed(list(names.datasets(grid.sources).values()))
    if setting == "train_size":
        return numbers.listed(["all" if value is None else f"{value:,}" for value in grid.axes[setting]])
    return numbers.listed([names.setting_text(setting, value) for value in grid.axes[setting]])


def _networks(evidence: Evidence) -> str:
    grid, built = evidence.grid, evidence.networks
    outputs = grid.axes["output_activation"]
    if all(network.is_perceptron for network in built):
        several = len(built) > 1
        clauses = [f"The {'networks were' if several else 'network was'} fully connected ({networks.widths(built)})"]
    else:
        described = numbers.listed([networks.described(network) for network in built[: limits.MAX_NAMED]])
        more = f" and {len(built) - limits.MAX_NAMED} more" * (len(built) > limits.MAX_NAMED)
        clauses = [f"The {'networks were' if len(built) > 1 else 'network was'} {described}{more}"]
    clauses += _regularization(grid)
    if outputs == ("same",):
        flat = networks.have_no_hidden_layer(built)
        clauses.append("the activation was that of the output" if flat else "the output had the same activation")
    elif len(outputs) == 1:
        clauses.append(f"the output activation was {outputs[0]}")
    if len(grid.axes["bias_initializer"]) == 1:
        clauses.append(f"biases were initialized by {grid.axes['bias_initializer'][0]}")
    return "; ".join(clauses) + "."


def _regularization(grid: Grid) -> list[str]:
    """Normalization and dropout, where they are on and do not vary."""
    clauses = []
    if len(grid.axes["normalization"]) == 1 and (kind := grid.axes["normalization"][0]) != "none":
        clauses.append(f"with {kind} normalization before activations, at PyTorch's initial parameters")
    if len(grid.axes["dropout"]) == 1 and (share := grid.axes["dropout"][0]):
        clauses.append(f"with dropout of {share:g} after activations")
    return clauses


def _data(evidence: Evidence) -> str:
    """The data sets, with the sizes of their splits."""
    grid, parts = evidence.grid, []
    for source in grid.sources.values():
        train = f"{source.train_size:,}"
        if grid.axes["train_size"] != (None,):
            train = f"{_values(grid, 'train_size')} of {train}"
        parts.append(
            f"{names.datasets(grid.sources)[source.name]} ({train} training, {source.validation_size:,} validation and "
            f"{source.test_size:,} test {names.images(source)})"
        )
    sentences = [f"The data were {numbers.listed(parts)}."]
    if grid.axes["standardize"] == (True,):
        values = "feature" if evidence.images == "examples" else "channel"
        sentences.append(
            f"They were standardized by the mean and deviation of each {values} over the training {evidence.images}."
        )
    augmentation = {
        "crop": "random shifts of up to 4 pixels",
        "flip": "random horizontal flips",
        "crop_flip": "random shifts of up to 4 pixels and horizontal flips",
    }
    if len(grid.axes["augment"]) == 1 and (kind := grid.axes["augment"][0]) != "none":
        sentences.append(f"Training images were augmented by {augmentation[kind]}.")
    return " ".join(sentences)


def _training(grid: Grid) -> str:
    """How the networks were trained, as far as it does not vary."""
    single = {setting: grid.axes[setting][0] for setting in SETTINGS if len(grid.axes[setting]) == 1}
    parts = [f"by {single['optimizer']}"] if "optimizer" in single else []
    parts += _rate(single)
    parts += _warmup(single)
    if clipping := single.get("gradient_clipping"):
        parts.append(f"with the gradient's norm clipped at {numbers.exact(float(str(clipping)))}")
    parts += [f"in batches of {single['batch_size']:,}"] if "batch_size" in single else []
    parts += [f"for {numbers.plural(single['epochs'], 'epoch')}"] if "epochs" in single else []
    parts += [f"in {single['precision']}"] if "precision" in single else []
    return f"Networks were trained {', '.join(parts)}." if parts else ""


def _rate(single: Mapping[str, object]) -> list[str]:
    """The learning rate in each epoch, from the settings with one value, where it has one."""
    rate, decay, schedule = single.get(RATE), single.get("lr_decay"), single.get("lr_schedule")
    if schedule == "cosine":
        first = (
            "" if rate is None or decay is None else f" of {numbers.exact(float(str(rate)) * (1 - float(str(decay))))}"
        )
        return [f"with a learning rate{first} that falls towards 0 along a cosine"]
    if decay is None or (schedule is None and decay):
        return [] if rate is None else [f"with a learning rate of {numbers.exact(float(str(rate)))} before its decay"]
    factor = 1 - float(str(decay))
    if factor == 1:
        return [] if rate is None else [f"with a constant learning rate of {numbers.exact(float(str(rate)))}"]
    base = "the learning rate" if rate is None else numbers.exact(float(str(rate)))
    if schedule == "constant":
        value = f"{base} × {numbers.exact(factor)}" if rate is None else numbers.exact(float(str(rate)) * factor)
        return [f"with a constant learning rate of {value}"]
    return [f"with a learning rate of {base} × {numbers.exact(factor)}^(epoch − 1)"]


def _warmup(single: Mapping[str, object]) -> list[str]:
    epochs = float(str(single.get("warmup_epochs") or 0))
    if not epochs:
        return []
    return [f"after a linear warm-up over {'one epoch' if epochs == 1 else f'{numbers.exact(epochs)} epochs'}"]


def _runs(evidence: Evidence) -> list[str]:
    """The numbers of seeds and of runs, and of those that failed."""
    last, rule = evidence.last, evidence.grid.seed_rule
    low, high = int(evidence.verdicts["seeds"].min()), int(evidence.verdicts["seeds"].max())
    count = numbers.plural(high, "seed") if low == high else f"{low:,} to {numbers.plural(high, 'seed')}"
    used = sorted(set(last["seed"]))
    which = f" ({used[0]} to {used[-1]})" if len(used) > 1 and used == list(range(used[0], used[-1] + 1)) else ""
    sentences = []
    if rule and rule.min_seeds < rule.max_seeds:
        range_text = f"from {rule.min_seeds:,} to at most {rule.max_seeds:,}"
        sentences.append(f"Seeds were added five at a time, {range_text}, {seeds.rule_text(rule)}.")
    planned = f" of {len(evidence.grid):,} planned" * (rule is None and len(last) < len(evidence.grid))
    runs = numbers.plural(len(last), "training run") + planned
    sentences.append(f"Each configuration was trained with {count}{which}: {runs}.")
    diverged, at_chance = int(last["diverged"].sum()), int(last["at_chance"].sum())
    if not diverged + at_chance:
        return [*sentences, "No run failed (diverged or stayed at chance)."]
    scored = " (scored at the majority-class accuracy)" * bool(diverged)
    return [
        *sentences,
        f"Of these {diverged:,} diverged{scored} and {at_chance:,} stayed at chance; all count in the means.",
    ]


def _signal(evidence: Evidence) -> list[str]:
    """On what the signal was measured, where it was."""
    if evidence.signal.empty:
        return []
    return [
        f"Before training, pre-activations, gradients and the input-output Jacobian were measured on up to {IMAGES} "
        f"training {evidence.images} (the Jacobian on {JACOBIAN_IMAGES})."
    ]


def _statistics(evidence: Evidence, seeds_seen: Sequence[int]) -> list[str]:
    """The intervals, the selection and the tests."""
    rule, verdicts = evidence.grid.seed_rule, evidence.verdicts
    if not verdicts["all_low"].notna().any():
        return ["Test accuracies are those after the last epoch; with one seed there are no intervals and no tests."]
    intervals = "95% intervals of Student's t"
    if rule and rule.half_width is not None:
        intervals = f"95% intervals of the half-width {seeds.width(rule.half_width)}, or wider where runs fail"
    sentences = [f"Test accuracies are those after the last epoch: means over the seeds, with {intervals}."]
    if len(evidence.initializers) < 2:
        return sentences
    sentences.append(
        "The leader of a combination has the highest mean validation accuracy; the lower end of its interval is "
        "corrected for this selection."
    )
    if evidence.rates is not None:
        sentences.append("Each initializer's own best learning rate was selected by validation accuracy.")
    sentences.append(
        "At one seed all initializers saw the same batches in the same order, so they were compared by paired "
        "differences of test accuracy."
    )
    separately = " separately" * (len(evidence.combinations) > 1)
    family = f"in each combination{separately}, the family-wise error is at most 5%"
    if evidence.until_decided:
        sentences.append(
            "As seeds were added after looking at results, an initializer is significantly worse if the e-value of a "
            f"pair (a likelihood ratio of Student's t; Wang and Ramdas 2023) shows it, valid at every look; {family}."
        )
    elif verdicts["p"].notna().any():
        alone = " (with fewer than six seeds the last two initializers are compared by the rotation test alone)" * bool(
            (verdicts["rotation_only"] & verdicts["significant"]).any()
        )
        sentences.append(
            "An initializer is significantly worse than another if a rotation test of moderated t statistics (Smyth "
            "2004; Langsrud 2005) and a permutation test within seeds, stepping down (Westfall and Young 1993), are "
            f"both significant at 5%{alone}; {family}."
        )
        if added_seeds(evidence.grid, seeds_seen):
            counts = numbers.listed([f"{count:,}" for count in seeds_seen])
            sentences.append(
                f"However, seeds were added after the results of {counts} seeds had been seen, so the error is larger."
            )
    else:
        sentences.append("No two initializers have enough seeds in common for a test.")
    return sentences


def _software(environments: Sequence[Mapping[str, str]]) -> list[str]:
    """The versions, the processors, and whether results are reproducible."""

    def listed(key: str) -> str:
        return numbers.listed(list(dict.fromkeys(e[key] for e in environments if e.get(key))))

    versions = [f"{name} {listed(key)}" for key, name in SOFTWARE.items() if listed(key)]
    devices = numbers.listed([d for d in dict.fromkeys(e.get("device", "cpu") for e in environments) if d != "cpu"])
    machines = [text for text in (devices, listed("processor")) if text]
    sentences = []
    if versions:
        machine = f", on {' with '.join(machines)}" * bool(machines)
        sentences.append(f"Software: {numbers.listed(versions)}{machine}.")
    bits = {e.get("bits") for e in environments}
    if bits == {"exact"}:
        sentences.append("On one kind of processor and with these versions, results are reproducible bit for bit.")
    elif "to rounding" in bits:
        sentences.append("Results are reproducible up to rounding errors.")
    return sentences
