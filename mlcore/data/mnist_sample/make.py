"""Draw the bundled sample from the official MNIST files.

``python -m mlcore.data.mnist_sample.make SOURCE_FOLDER [--out FOLDER]``
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlcore.data.catalog import CATALOG
from mlcore.data.compressed import open_plain
from mlcore.data.dataset import Dataset
from mlcore.data.folder import find_idx, read_folder
from mlcore.data.hdf5 import write_hdf5
from mlcore.kernels.errors import InputError

SEED = 20_240_101
PER_CLASS = {"train": 1_000, "validation": 100, "test": 200}
VALIDATION_EVERY = 11


def draw(source: Path) -> dict[str, tuple[Dataset, NDArray[np.int32]]]:
    """Return each part of the sample, with the index of its images in the official file.

    Parameters
    ----------
    source
        The folder with the four official files, plain or .gz.

    Raises
    ------
    InputError
        A file is missing, or its unpacked content is not the official one.
    """
    official = read_folder(source, name="mnist-sample", class_names=CATALOG["mnist"].class_names)
    _check(source)
    if official.test is None:
        raise InputError(f"{source} has no t10k-images-idx3-ubyte, plain or .gz")
    generator = np.random.Generator(np.random.PCG64(SEED))
    per_class = PER_CLASS["train"] + PER_CLASS["validation"]
    spaced = _spaced(official.train.targets, per_class)
    held = np.arange(per_class) % VALIDATION_EVERY == VALIDATION_EVERY // 2
    train, validation, test = (
        generator.permutation(rows.reshape(-1)).astype(np.int32)
        for rows in (
            spaced[:, ~held],
            spaced[:, held],
            _spaced(official.test.targets, PER_CLASS["test"]),
        )
    )
    return {
        "train": (official.train.subset(train), train),
        "validation": (official.train.subset(validation), validation),
        "test": (official.test.subset(test), test),
    }


def _spaced(labels: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return `count` rows of each class, evenly spaced over its images; (classes, count).

    Each class is cut into `count` equal stretches and the middle of every stretch is taken:
    networks are some two per cent less accurate on the first half of the test file than on the
    second, so a random draw of 2,000 would say more of the draw than of the network.
    """
    middles = (np.arange(count) + 0.5) / count
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.stack([rows[(middles * len(rows)).astype(np.intp)] for rows in classes])


def make(source: Path, folder: Path) -> list[Path]:
    """Write train.h5.xz, validation.h5.xz and test.h5.xz into `folder`; return their paths."""
    written = []
    for part, (dataset, rows) in draw(source).items():
        official = "t10k-images-idx3-ubyte" if part == "test" else "train-images-idx3-ubyte"
        path = folder / f"{part}.h5.xz"
        write_hdf5(
            path,
            dataset,
            one_hot_labels=True,
            extra={"source_index": rows},
            attributes={
                "source": CATALOG["mnist"].source,
                "licence": CATALOG["mnist"].licence,
                "licence_url": "https://creativecommons.org/licenses/by-sa/3.0/",
                "changes": (
                    f"{PER_CLASS[part]} images of each class drawn from {official}, evenly spaced, "
                    "then shuffled; "
                    "source_index holds each one's index there"
                ),
            },
        )
        written.append(path)
    return written


def _check(source: Path) -> None:
    """Compare the unpacked files, the ones that were read, with the official digests."""
    present = {path for pair in find_idx(source).values() for path in pair.values()}
    for file in CATALOG["mnist"].files:
        plain = file.name.removesuffix(".gz")
        found = next(
            (path for path in present if _official_name(path) == plain),
            None,
        )
        if found is None:
            raise InputError(f"{source} has no {plain}, plain or .gz")
        with open_plain(found) as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != file.sha256:
            raise InputError(
                f"{found} is not the official file: its unpacked content has SHA-256 {digest}, "
                f"expected {file.sha256}"
            )


def _official_name(path: Path) -> str:
    return path.name.removesuffix(".gz").replace(".idx", "-idx")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mlcore.data.mnist_sample.make",
        description="Draw the bundled sample from the official MNIST files.",
    )
    parser.add_argument("source", type=Path, help="folder with the four official IDX files")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to (this package)"
    )
    options = parser.parse_args(arguments)
    try:
        for path in make(options.source, options.out):
            print(f"{path}: {path.stat().st_size:,} bytes")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
