"""The sets mlcore knows by name: what they are, where they are looked for, where they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlcore.data.folder import find_idx, find_parts
from mlcore.kernels.errors import unknown

MNIST_DIGITS = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_BUNDLED = Path(__file__).parent / "mnist_sample"


@dataclass(frozen=True)
class RemoteFile:
    """One archive of a set.

    Attributes
    ----------
    name
        What it is called on every mirror and on disk.
    sha256
        Digest of the unpacked content, so that a mirror may compress it anew.
    unpacked_bytes
        Size of that content.
    archive_bytes
        Size of the official archive; a mirror's may differ a little.
    """

    name: str
    sha256: str
    unpacked_bytes: int
    archive_bytes: int


@dataclass(frozen=True)
class Mirror:
    """A public folder of a set's archives.

    Attributes
    ----------
    url
        The archives are at ``url/name``.
    verified
        Whether the developers have fetched the set from it; false for one that is listed on the
        word of others.
    """

    url: str
    verified: bool = False


@dataclass(frozen=True)
class Entry:
    """A set that is known by name.

    Attributes
    ----------
    name
        What `mlcore.data.load` calls it.
    images
        Images in each part.
    class_names
        One for each label.
    licence, source
        Whose it is, and under which terms.
    files
        The archives to download; none for the bundled sample.
    mirrors
        Where from, tried in this order.
    system_folders
        Where a system package puts it.
    """

    name: str
    images: dict[str, int]
    class_names: tuple[str, ...]
    licence: str
    source: str
    files: tuple[RemoteFile, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    system_folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Availability:
    """What is known of a set on this machine, for a list.

    Attributes
    ----------
    entry
        The set.
    folder
        Where it was found, or None.
    bytes
        Size of its files on disk, 0 where it was not found.
    """

    entry: Entry
    folder: Path | None
    bytes: int

    @property
    def found(self) -> bool:
        """Whether the set can be loaded here."""
        return self.folder is not None


_MNIST_SOURCE = "Y. LeCun and C. Cortes, the MNIST database of handwritten digits"

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mnist-sample",
            images={"train": 10_000, "validation": 1_000, "test": 2_000},
            class_names=MNIST_DIGITS,
            licence="CC BY-SA 3.0",
            source=f"a sample of: {_MNIST_SOURCE}",
            system_folders=(_BUNDLED,),
        ),
        Entry(
            name="mnist",
            images={"train": 60_000, "test": 10_000},
            class_names=MNIST_DIGITS,
            licence="CC BY-SA 3.0",
            source=_MNIST_SOURCE,
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz",
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    47_040_016,
                    9_912_422,
                ),
                RemoteFile(
                    "train-labels-idx1-ubyte.gz",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    60_008,
                    28_881,
                ),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    7_840_016,
                    1_648_877,
                ),
                RemoteFile(
                    "t10k-labels-idx1-ubyte.gz",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    10_008,
                    4_542,
                ),
            ),
            mirrors=(
                Mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
                Mirror("https://storage.googleapis.com/cvdf-datasets/mnist"),
            ),
        ),
        Entry(
            name="fashion-mnist",
            images={"train": 60_000, "test": 10_000},
            class_names=FASHION_CLASSES,
            licence="MIT",
            source="H. Xiao, K. Rasul and R. Vollgraf (Zalando Research), Fashion-MNIST",
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz",
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    47_040_016,
                    26_421_880,
                ),
                RemoteFile(
                    "train-labels-idx1-ubyte.gz",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    60_008,
                    29_515,
                ),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    7_840_016,
                    4_422_102,
                ),
                RemoteFile(
                    "t10k-labels-idx1-ubyte.gz",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    10_008,
                    5_148,
                ),
            ),
            mirrors=(
                Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
                Mirror(
                    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist"
                    "/master/data/fashion"
                ),
            ),
            system_folders=(Path("/usr/share/datasets/fashion-mnist"),),
        ),
    )
}


def entry(name: str) -> Entry:
    """Return the set called `name`.

    Raises
    ------
    InputError
        There is none; the message names the nearest.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise unknown("data set", name, CATALOG) from None


def cache_folder() -> Path:
    """Return the folder for downloads and other files that can be made again.

    ``$MLCORE_CACHE``, else ``$XDG_CACHE_HOME/mlcore``, else ``~/.cache/mlcore``.
    """
    if own := os.environ.get("MLCORE_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "mlcore"
    return Path.home() / ".cache" / "mlcore"


def cached(name: str) -> Path:
    """Return the folder in the cache that the set called `name` is downloaded into."""
    return cache_folder() / "data" / name


def places(name: str) -> tuple[Path, ...]:
    """Return the folders that the set called `name` is looked for in, first to last."""
    known = entry(name)
    if not known.files:
        return known.system_folders
    own = os.environ.get("MLCORE_DATA")
    first = (Path(own).expanduser() / name,) if own else ()
    return (*first, cached(name), *known.system_folders)


def locate(name: str) -> Path | None:
    """Return the first folder that holds all of the set called `name`, or None."""
    return next((folder for folder in places(name) if _holds(folder, entry(name))), None)


def available() -> list[Availability]:
    """Return every known set, with where it was found on this machine."""
    found = []
    for known in CATALOG.values():
        folder = locate(known.name)
        found.append(Availability(known, folder, 0 if folder is None else _size(folder)))
    return found


def _holds(folder: Path, known: Entry) -> bool:
    if not folder.is_dir():
        return False
    parts = set(find_parts(folder))
    whole = {part for part, pair in find_idx(folder).items() if len(pair) == 2}
    return parts >= known.images.keys() or whole >= known.images.keys()


def _size(folder: Path) -> int:
    files = {path for pair in find_idx(folder).values() for path in pair.values()}
    return sum(path.stat().st_size for path in files | set(find_parts(folder).values()))
