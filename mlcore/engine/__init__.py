"""The fast executors: one translates a plan for the compiled loop, one runs it on a device.

`NativeExecutor` and `DeviceExecutor` do what `PythonExecutor` does, step by step and to rounding.
`executor_for` chooses among them.
"""

from mlcore.engine.device import DeviceExecutor
from mlcore.engine.executor import Executor, NativeExecutor, executor_for
from mlcore.engine.wide import FEW

__all__ = ["FEW", "DeviceExecutor", "Executor", "NativeExecutor", "executor_for"]
