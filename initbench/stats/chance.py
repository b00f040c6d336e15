"""The chance level of a data set: the majority-class accuracy, and which split separates learning from chance."""

import math
from dataclasses import dataclass

from initbench.errors import shown

# The validation split does not decide where more than this share of the test images have a class that it lacks.
MAX_UNSEEN = 0.25


@dataclass(frozen=True)
class Chance:
    """The majority-class accuracy of a data set, and which split decides whether a run is at chance.

    Parameters
    ----------
    test, validation
        The majority class's share of the test split, and of the validation split.
    validation_size, test_size
        The number of images of each split; 0 where it is unknown.
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
        """The split that decides whether a run is at chance.

        `validation`; `test`, where the validation split does not separate learning from chance; an empty string, where
        neither does.
        """
        if separates_chance(self.validation, self.validation_size) and self.unseen <= MAX_UNSEEN:
            return "validation"
        return "test" if separates_chance(self.test, self.test_size) else ""

    @property
    def limit(self) -> float:
        """The accuracy on `split` up to which a run is at chance, p + 3 √(p (1 − p) / n); −∞ where no split decides."""
        if not self.split:
            return -math.inf
        on_test = self.split == "test"
        p, n = (self.test, self.test_size) if on_test else (self.validation, self.validation_size)
        return p + 3 * math.sqrt(p * (1 - p) / n)

    @property
    def validation_score(self) -> float:
        """The validation accuracy at which a diverged run is scored: the majority-class accuracy, or 0.

        It is 0 where the validation split does not separate learning from chance: there a network that learned may
        score below the majority-class accuracy, and a diverged run must not help its initializer to lead.
        """
        return self.validation if self.split == "validation" else 0.0


# The embedded MNIST: 563 of the 5,000 validation images are ones, and 1,135 of the 10,000 test images.
MNIST = Chance(0.1135, 0.1126, 5000, 10_000)


def separates_chance(share: float, size: int) -> bool:
    """Return whether a split of `size` images, `share` of them in the majority class, separates learning from chance.

    It does if three standard errors, 3 √(p (1 − p) / n), are at most half of the distance from the majority-class
    accuracy p to 100%, that is, if n ≥ 36 p / (1 − p). Otherwise even a network that learned well could be at chance.

    >>> separates_chance(0.1126, 5000), separates_chance(0.5, 8), separates_chance(1.0, 5000)
    (True, False, False)
    """
    return size > 0 and size * (1 - share) >= 36 * share
