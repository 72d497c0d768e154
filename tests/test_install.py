"""What a source checkout says to those who use it the wrong way, and what an import brings."""

import subprocess
import sys
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


@pytest.mark.parametrize("module", ["h5py", "tqdm", "click", "matplotlib"])
def test_import_leaves_out_what_is_slow_to_import(module, tmp_path):
    code = f"import sys, mlcore; sys.exit({module!r} in sys.modules)"
    assert run("-c", code, cwd=tmp_path).returncode == 0


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
