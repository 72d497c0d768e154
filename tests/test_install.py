"""What a source checkout says to those who use it the wrong way, and what an import brings."""

import importlib
import os
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_an_uninstalled_checkout_says_how_to_install_it():
    # -S leaves out site-packages, and with it any installed mlcore.
    result = run("-S", "-c", "import mlcore", cwd=ROOT)
    assert result.returncode == 1
    assert "ImportError: this is the source checkout of mlcore" in result.stderr
    assert "pip install -e ." in result.stderr


def test_kernels_under_their_folder_name_are_refused():
    result = run("-c", "import kernels", cwd=ROOT)
    assert result.returncode == 1
    assert "import this package as mlcore.kernels" in result.stderr


SLOW = {"h5py", "tqdm", "click", "matplotlib", "numba", "urllib.request", "zipfile"}


@pytest.mark.parametrize(
    ("code", "left_out"),
    [
        ("import mlcore", {*SLOW, "numpy"}),
        ("import mlcore; mlcore.Sequential([mlcore.Dense(2)], seed=1).build(3)", SLOW),
        ("import mlcore; mlcore.data.Dataset", SLOW),
    ],
)
def test_import_leaves_out_what_is_slow_to_import(code, left_out, tmp_path):
    result = run("-c", f"{code}; import sys; print(*sys.modules)", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not left_out & set(result.stdout.split())


@pytest.mark.parametrize("package", ["mlcore", "mlcore.data"])
def test_every_public_name_is_found_and_listed(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        found = getattr(module, name)
        if isinstance(found, types.ModuleType):
            assert found.__name__ == f"{package}.{name}"
        elif callable(found):
            assert found.__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a new process for each module takes long")
def test_every_module_can_be_the_first_to_be_imported(tmp_path):
    folders = {"mlcore": ROOT / "mlcore", "mlcore.data": ROOT / "mlcore" / "data"}
    names = [
        f"{package}.{found.name}"
        for package, folder in folders.items()
        for found in pkgutil.iter_modules([str(folder)])
        if not found.name.startswith("_")
    ]
    code = (
        "import importlib, os, sys, numpy\n"
        "for name in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        importlib.import_module(name)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1] != 0:\n"
        "        sys.exit(f'{name} cannot be imported first')\n"
    )
    result = run("-c", code, *names, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_import_star(tmp_path):
    result = run("-c", "from mlcore import *; print(Sequential, data.load)", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_kernels_never_import_the_rest_of_mlcore(tmp_path):
    code = (
        "import sys, types; sys.modules['mlcore'] = package = types.ModuleType('mlcore');"
        f"package.__path__ = [];"
        "import importlib.util as util;"
        f"spec = util.spec_from_file_location('mlcore.kernels', {str(ROOT / 'kernels')!r}"
        " + '/__init__.py', submodule_search_locations=[" + repr(str(ROOT / "kernels")) + "]);"
        "module = util.module_from_spec(spec); sys.modules['mlcore.kernels'] = module;"
        "spec.loader.exec_module(module); module.get('numpy');"
        "sys.exit(any(n.startswith('mlcore.') and not n.startswith('mlcore.kernels')"
        " for n in sys.modules))"
    )
    result = run("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
