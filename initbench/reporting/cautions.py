"""Warnings about an experiment: splits that do not separate learning from chance, and seeds added after a look."""

from collections.abc import Iterable, Sequence

from initbench.data.datasets import Source
from initbench.reporting.names import datasets, has_own_validation_split
from initbench.spec.grid import Grid
from initbench.stats.chance import MAX_UNSEEN, Chance, separates_chance


def chance_of(source: Source) -> Chance:
    """Return the chance level of a data set; an unknown validation share is replaced by that of the test split."""
    return Chance(
        source.majority_class_share,
        source.majority_class_validation_share or source.majority_class_share,
        source.validation_size,
        source.test_size,
        source.unseen_test_share,
    )


def cautions(sources: Iterable[Source]) -> list[str]:
    """Return a line for each split that does not separate learning from chance: why, what follows, what to do."""
    sources, lines = list(sources), []
    shown = datasets(source.name for source in sources)
    for source in sources:
        name, chance = shown[source.name], chance_of(source)
        if chance.split != "validation":
            decision = "the test split decides which runs are at chance" if chance.split else "no run is at chance"
            reason = _reason(chance.validation, chance.validation_size, chance.unseen)
            sorted_by_class = (
                not has_own_validation_split(source)
                and chance.test < 1
                and (chance.validation == 1 or chance.unseen > MAX_UNSEEN)
            )
            remedy = "Shuffle the training images together with their labels"
            own = has_own_validation_split(source)
            first = f", the first {source.validation_size:,} training images,"
            validation = f" of {source.validation_size:,} images" if own else first
            lines.append(
                f"{name}: the validation split{validation} {reason}. "
                f"The leader and the speed of learning are judged on it and mean little; {decision}. "
                + (remedy if sorted_by_class else _remedy("validation" if own else "training", chance.validation))
            )
        if not separates_chance(chance.test, chance.test_size):
            lines.append(
                f"{name}: the test split of {source.test_size:,} images "
                f"{_reason(chance.test, chance.test_size)}: test accuracies mean little. {_remedy('test', chance.test)}"
            )
    return lines


def _reason(share: float, size: int, unseen: float = 0.0) -> str:
    if share == 1:
        return "has one class"
    if unseen > MAX_UNSEEN:
        return f"has no image of the classes of {unseen:.0%} of the test images"
    return f"does not separate learning from chance ({size:,} images, {share:.0%} of them of one class)"


def _remedy(split: str, share: float) -> str:
    if share == 1:
        return f"Provide {split} images of at least two classes"
    return f"Provide more {split} images" + ", or classes of more equal size" * (share > 0.5)


def added_seeds(grid: Grid, seeds_seen: Sequence[int]) -> list[str]:
    """Return a line if seeds were added after the results of fewer had been seen, and what holds then; else none.

    Nothing is compared with one initializer, and comparisons hold at every look with the rule `until = "decided"`.
    """
    valid = grid.seed_rule is not None and grid.seed_rule.half_width is None
    if not seeds_seen or valid or len(grid.axes["initializer"]) < 2:
        return []
    from initbench.reporting import numbers  # with pandas, for which the notes of a plan do not wait

    counts = numbers.listed([str(count) for count in seeds_seen])
    return [
        f"Seeds were added after the results of {counts} seeds. With looks after 5, 10, 20, 40 and 80 seeds, 11 to 20% "
        "of combinations of equal initializers show a significant difference, not 5%. Comparisons that hold at every "
        "look: initbench run with --set 'seed={until=\"decided\"}'"
    ]
