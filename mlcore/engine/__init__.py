"""The native executor: translates a plan for the compiled executor, and runs it.

`NativeExecutor` does what `PythonExecutor` does, step by step and to rounding. `executor_for`
chooses between the two.
"""

from mlcore.engine.executor import Executor, NativeExecutor, executor_for

__all__ = ["Executor", "NativeExecutor", "executor_for"]
