"""What is special to the Numba backend: when it is imported, what it says, what it keeps on disk.

That its kernels are right is asked by the tests that iterate the backends.
"""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mlcore
from mlcore import kernels
from mlcore.kernels.errors import InputError, MissingExtraError
from mlcore.kernels.table import ROWS

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="Numba is not installed")


def run(code, folder, **environment):
    """What `code` prints in a new process, none of the caller's choices being passed on."""
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLCORE_", "NUMBA_"))
    }
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**given, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A copy of the package without its compiled modules, to be changed at will."""
    package = tmp_path / "site" / "mlcore"
    sources = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.xz")
    shutil.copytree(Path(mlcore.__file__).parent, package, ignore=sources)
    shutil.copytree(
        Path(kernels.__file__).parent, package / "kernels", ignore=sources, dirs_exist_ok=True
    )
    return package


class TestWhenItIsImported:
    def test_not_with_mlcore(self, tmp_path):
        assert run("import sys, mlcore; print('numba' in sys.modules)", tmp_path) == "False"

    def test_not_where_a_backend_before_it_is_chosen(self, tmp_path):
        code = (
            "import sys; from mlcore import kernels;"
            "kernels.BACKENDS = {'numpy': kernels.BACKENDS['numpy'], **kernels.BACKENDS};"
            "print(kernels.get().name, 'numba' in sys.modules)"
        )
        assert run(code, tmp_path) == "numpy False"

    @needs_numba
    def test_chosen_where_the_native_kernels_are_absent(self, package):
        code = "import mlcore; print(mlcore.Sequential([mlcore.Dense(1)]).backend.name)"
        assert run(code, package.parent) == "numba"

    def test_numpy_is_chosen_where_both_are_absent(self, package):
        code = (
            "import sys; sys.modules['numba'] = None;"
            "from mlcore import kernels; print(kernels.get().name)"
        )
        assert run(code, package.parent) == "numpy"


class TestWithoutNumba:
    HOW = r'pip install "mlcore\[numba\]"'

    @pytest.fixture(autouse=True)
    def absent(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "numba", None)
        for name in [name for name in sys.modules if name.startswith("mlcore.kernels.numba_")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(kernels._loaded, "numba", raising=False)

    def test_the_import_says_how_to_install_it(self):
        with pytest.raises(MissingExtraError, match=self.HOW):
            importlib.import_module("mlcore.kernels.numba_")

    def test_asking_for_it_says_how_to_install_it(self):
        with pytest.raises(InputError, match=f"numba backend cannot be used: .*{self.HOW}"):
            kernels.get("numba")

    def test_the_status_says_how_to_install_it(self):
        (entry,) = (entry for entry in kernels.status() if entry.name == "numba")
        assert not entry.available
        assert entry.reason == 'Numba is not installed: pip install "mlcore[numba]"'


@needs_numba
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_signature_is_that_of_the_table(row):
    kernel = kernels.get("numba").kernels[row.name]
    function = getattr(kernel, "py_func", kernel)
    assert list(inspect.signature(function).parameters) == list(row.arguments)


COMPILE_ONE = """
import numpy as np
from mlcore.kernels import get, numba_
arrays = {"weights": np.ones(3), "rows": np.array([2, 0]), "out": np.zeros(2)}
get("numba").call("gather_weights", **arrays)
assert arrays["out"].tolist() == [1, 1]
counts = numba_.gather_weights.stats
print(*(sum(count.values()) for count in (counts.cache_hits, counts.cache_misses)))
"""


def kept(folder):
    return [path.name for path in folder.rglob("*.nbi") if ".gather_weights-" in path.name]


@needs_numba
class TestWhatIsKeptOnDisk:
    """In a copy of the package, whose folders can be made unwritable."""

    def twice(self, package, **environment):
        return [run(COMPILE_ONE, package.parent, **environment) for _ in range(2)]

    def block(self, path):
        """Put a file where a folder is wanted: root too cannot write into it."""
        path.write_text("")
        return path

    def test_beside_the_package_and_the_second_process_compiles_nothing(self, package, tmp_path):
        user = tmp_path / "user"
        assert self.twice(package, XDG_CACHE_HOME=str(user), HOME=str(user)) == ["0 1", "1 0"]
        assert kept(package / "kernels" / "__pycache__")
        assert not kept(user)

    def test_in_the_users_cache_where_the_package_cannot_be_written(self, package, tmp_path):
        user = tmp_path / "user"
        self.block(package / "kernels" / "__pycache__")
        assert self.twice(package, XDG_CACHE_HOME=str(user), HOME=str(user)) == ["0 1", "1 0"]
        assert kept(user)

    def test_where_the_environment_says(self, package, tmp_path):
        chosen = tmp_path / "chosen"
        assert self.twice(package, NUMBA_CACHE_DIR=str(chosen)) == ["0 1", "1 0"]
        assert kept(chosen)
        assert not kept(package)

    def test_nowhere_and_then_every_process_compiles(self, package, tmp_path):
        user = str(self.block(tmp_path / "user"))
        self.block(package / "kernels" / "__pycache__")
        assert self.twice(package, XDG_CACHE_HOME=user, HOME=user) == ["0 1", "0 1"]
        assert not kept(tmp_path)
