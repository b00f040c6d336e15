"""The data sets that a grid file asks for by name: a record of each. Nothing heavy is imported here."""

from dataclasses import dataclass

# The names of MNIST's files.
IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Known:
    """A data set with a name."""

    summary: str
    format: str  # "idx" or "cifar10"
    folders: tuple[str, ...]  # where torchvision puts it, below a folder of data sets; also absolute ones
    urls: tuple[tuple[str, str], ...]  # each with the MD5 of what lies there
    sizes: tuple[tuple[int, int], ...]  # the numbers of training and test images, of each version
    classes: int
    shape: tuple[int, int, int] = (28, 28, 1)
    emnist: str = ""  # the split of EMNIST
    digest: str = ""  # the twelve digits of its content, as `datasets.describe` has them, where they are known
    batches: tuple[tuple[str, str], ...] = ()  # files of a download that are packed together, each with its MD5

    @property
    def sums(self) -> dict[str, str]:
        """The MD5 of each published file, by name."""
        return {url.rpartition("/")[2]: md5 for url, md5 in self.urls} | dict(self.batches)


# URLs and MD5 are those of torchvision: torchvision/datasets/mnist.py and cifar.py.
def _of_mnist(base: str, sums: tuple[str, str, str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{base}{stem}.gz", md5) for stem, md5 in zip(IDX_STEMS, sums, strict=True))


EMNIST_URLS = (("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e"),)


def _emnist(split: str, summary: str, classes: int, *sizes: tuple[int, int]) -> Known:
    text = f"EMNIST {split}: {summary}, 28 × 28"
    return Known(text, "idx", ("EMNIST/raw",), EMNIST_URLS, sizes, classes, emnist=split)


# Sizes of EMNIST: Cohen et al. 2017, table II; those of the letters are that table's, and those of the later files.
KNOWN = {
    "fashion_mnist": Known(
        "Fashion-MNIST: 70,000 images of clothes, 28 × 28, ten classes",
        "idx",
        ("/usr/share/datasets/fashion-mnist", "FashionMNIST/raw"),  # the first is Debian's dataset-fashion-mnist
        _of_mnist(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        ((60_000, 10_000),),
        10,
        digest="a485933e0d1e",
    ),
    "kmnist": Known(
        "KMNIST: 70,000 Kuzushiji characters, 28 × 28, ten classes",
        "idx",
        ("KMNIST/raw",),
        _of_mnist(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        ((60_000, 10_000),),
        10,
    ),
    "emnist_letters": _emnist("letters", "145,600 letters, 26 classes", 26, (124_800, 20_800), (88_800, 14_800)),
    "emnist_balanced": _emnist("balanced", "131,600 digits and letters, 47 classes", 47, (112_800, 18_800)),
    "emnist_digits": _emnist("digits", "280,000 digits, ten classes", 10, (240_000, 40_000)),
    "emnist_byclass": _emnist("byclass", "814,255 digits and letters, 62 classes", 62, (697_932, 116_323)),
    "emnist_bymerge": _emnist("bymerge", "814,255 digits and letters, 47 classes", 47, (697_932, 116_323)),
    "emnist_mnist": _emnist("mnist", "70,000 digits, ten classes", 10, (60_000, 10_000)),
    "cifar10": Known(
        "CIFAR-10: 60,000 photographs, 32 × 32 in color, ten classes",
        "cifar10",
        ("cifar-10-batches-bin", "cifar-10-batches-py"),
        (("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
        ((50_000, 10_000),),
        10,
        (32, 32, 3),
        batches=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ("test_batch", "40351d587109b95175f43aff81a1287e"),
        ),
    ),
}
