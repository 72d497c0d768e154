"""Data sets: loading, downloading, dividing and converting them.

>>> from mlcore.data import load
>>> train, test = load("mnist-sample")
>>> len(train), len(test)
(10000, 2000)
"""

from typing import TYPE_CHECKING

from mlcore.data.dataset import Dataset, Splits
from mlcore.data.split import split

if TYPE_CHECKING:
    from mlcore.data.catalog import CATALOG, Availability, Entry, Mirror, available, cache_folder
    from mlcore.data.conversion import convert
    from mlcore.data.download import DownloadError, Fetched, fetch
    from mlcore.data.files import atomic_write
    from mlcore.data.hdf5 import read_hdf5, write_hdf5
    from mlcore.data.idx import read_idx, write_idx
    from mlcore.data.loading import load
    from mlcore.data.npz import read_npz, write_npz
else:
    from mlcore.lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        names={
            "catalog": [
                "CATALOG",
                "Availability",
                "Entry",
                "Mirror",
                "available",
                "cache_folder",
            ],
            "conversion": ["convert"],
            "download": ["DownloadError", "Fetched", "fetch"],
            "files": ["atomic_write"],
            "hdf5": ["read_hdf5", "write_hdf5"],
            "idx": ["read_idx", "write_idx"],
            "loading": ["load"],
            "npz": ["read_npz", "write_npz"],
        },
    )

__all__ = [
    "CATALOG",
    "Availability",
    "Dataset",
    "DownloadError",
    "Entry",
    "Fetched",
    "Mirror",
    "Splits",
    "atomic_write",
    "available",
    "cache_folder",
    "convert",
    "fetch",
    "load",
    "read_hdf5",
    "read_idx",
    "read_npz",
    "split",
    "write_hdf5",
    "write_idx",
    "write_npz",
]
