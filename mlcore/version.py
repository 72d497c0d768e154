"""The version, from the installed package: the look-up takes a third of NumPy's import."""

from importlib.metadata import version

__version__ = version("mlcore")
