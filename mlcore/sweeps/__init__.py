"""Sweeps: many settings and seeds of one experiment, on all cores, in a file that survives.

A sweep calls a function for every setting that `grid` or `draws` has made. The runs go to joblib's
workers, one core each; ``joblib.parallel_config`` sends them to a cluster instead.
"""

from mlcore.sweeps.folds import Fold, plain_folds, stratified_folds
from mlcore.sweeps.results import Results
from mlcore.sweeps.running import sweep
from mlcore.sweeps.settings import draws, grid, log_uniform, uniform, whole
from mlcore.sweeps.workers import WorkerError

__all__ = [
    "Fold",
    "Results",
    "WorkerError",
    "draws",
    "grid",
    "log_uniform",
    "plain_folds",
    "stratified_folds",
    "sweep",
    "uniform",
    "whole",
]
