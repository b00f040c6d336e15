"""What a constant answer reaches on each split, and whether a split separates runs that learned from runs at chance."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initbench.errors import shown

if TYPE_CHECKING:
    from initbench.data.datasets import Source

# A split cannot tell where more of the test images than this are of classes that it has no image of.
MAX_UNSEEN = 0.25


@dataclass(frozen=True)
class Chance:
    """The majority-class accuracy of a data set, and which split decides whether a run is at chance.

    Parameters
    ----------
    test, validation
        The majority class's share of the test split, and of the validation split.
    validation_size, test_size
        How many images each split has; 0 where that is not known.
    unseen
        The share of the test images whose class no validation image has.

    Raises
    ------
    ValueError
        If a share is not from 0 to 1, or a size is negative.

    Examples
    --------
    >>> MNIST.split, round(MNIST.limit, 4)
    ('validation', 0.126)
    >>> sorted_by_class = Chance(0.1135, 1.0, 5000, 10_000, unseen=0.902)
    >>> sorted_by_class.split, round(sorted_by_class.limit, 4)
    ('test', 0.123)
    """

    test: float
    validation: float
    validation_size: int
    test_size: int = 0
    unseen: float = 0.0

    def __post_init__(self) -> None:
        for name in ("test", "validation", "unseen"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {shown(getattr(self, name))}; allowed: a share from 0 to 1")
        for name in ("validation_size", "test_size"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {shown(getattr(self, name))}; allowed: a number of images from 0 up")

    @property
    def split(self) -> str:
        """The split that decides whether a run is at chance: validation; test, where the validation split cannot tell;
        or an empty text, where neither can.
        """
        if can_tell(self.validation, self.validation_size) and self.unseen <= MAX_UNSEEN:
            return "validation"
        return "test" if can_tell(self.test, self.test_size) else ""

    @property
    def limit(self) -> float:
        """The accuracy on `split` up to which a run is at chance, p + 3 √(p (1 − p) / n); −∞ where none can tell."""
        if not self.split:
            return -math.inf
        on_test = self.split == "test"
        p, n = (self.test, self.test_size) if on_test else (self.validation, self.validation_size)
        return p + 3 * math.sqrt(p * (1 - p) / n)

    @property
    def validation_score(self) -> float:
        """The validation accuracy at which a diverged run is scored: the majority-class accuracy.

        Where the validation split cannot separate learning from chance, a network that learned may be below the
        majority-class accuracy there. A diverged run is scored 0 then, so that it never helps an initializer to lead.
        """
        return self.validation if self.split == "validation" else 0.0


# The embedded MNIST: 563 of the 5,000 validation images are ones, and 1,135 of the 10,000 test images.
MNIST = Chance(0.1135, 0.1126, 5000, 10_000)


def can_tell(share: float, size: int) -> bool:
    """Whether a split of so many images, this share of them in the majority class, separates learning from chance.

    It does if the three standard errors above the share, 3 √(p (1 − p) / n), take up at most half of what lies between
    the share and 100%, so that n ≥ 36 p / (1 − p). A network that learned would else be at chance however good it is.

    >>> can_tell(0.1126, 5000), can_tell(0.5, 8), can_tell(1.0, 5000)
    (True, False, False)
    """
    return size > 0 and size * (1 - share) >= 36 * share


def of_source(source: "Source") -> Chance:
    """The chance of a data set; where the validation split's share is not known, the test split's stands for it."""
    return Chance(
        source.majority_class_share,
        source.majority_class_validation_share or source.majority_class_share,
        source.validation_size,
        source.test_size,
        source.unseen_test_share,
    )


def cautions(sources: Iterable["Source"]) -> list[str]:
    """A line for each split of these data sets that cannot tell: why, what follows, and what to do."""
    lines = []
    for source in sources:
        chance = of_source(source)
        decided = "the test split decides which runs are at chance" if chance.split else "no run counts as at chance"
        if chance.split != "validation":
            why = _why(chance.validation, chance.validation_size, chance.unseen)
            in_order = chance.test < 1 and (chance.validation == 1 or chance.unseen > MAX_UNSEEN)
            remedy = (
                "Shuffle the training images together with their labels" if in_order else _remedy(chance.validation)
            )
            lines.append(
                f"{source.name}: the validation split, the first {source.validation_size:,} training images, {why}: "
                f"the leader and the speed of learning, which are judged on it, mean little, and {decided}. "
                f"{remedy.format('training')}"
            )
        if not can_tell(chance.test, chance.test_size):
            lines.append(
                f"{source.name}: the test split of {source.test_size:,} images {_why(chance.test, chance.test_size)}: "
                f"test accuracies mean little. {_remedy(chance.test).format('test')}"
            )
    return lines


def _why(share: float, size: int, unseen: float = 0.0) -> str:
    if share == 1:
        return "has one class"
    if unseen > MAX_UNSEEN:
        return f"has no image of the classes of {unseen:.0%} of the test images"
    return f"cannot tell learning from chance ({size:,} images, {share:.0%} of them of one class)"


def _remedy(share: float) -> str:
    if share == 1:
        return "Give {} images of at least two classes"
    return "Give more {} images" + ", or classes of more equal size" * (share > 0.5)
