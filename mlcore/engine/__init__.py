"""The native executor: translates a plan for the compiled executor, and runs it.

`NativeExecutor` does what `PythonExecutor` does, step by step and to rounding. `executor_for`
chooses between the two.
"""

from mlcore.engine.executor import Executor, NativeExecutor, executor_for
from mlcore.engine.wide import FEW

__all__ = ["FEW", "Executor", "NativeExecutor", "executor_for"]
