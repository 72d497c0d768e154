"""The compiled extensions and their compiler flags; everything else is in pyproject.toml."""

import platform
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("kernels/native")
FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"]

# What the levels x86-64-v2, v3 and v4 mean, in words that older compilers know too. The first is
# the oldest processor that a portable wheel promises to run on; better ones are chosen at import.
V2 = ["-msse4.2", "-mpopcnt", "-mcx16"]
V3 = [*V2, "-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mmovbe"]
V4 = [*V3, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))]
if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
    MODULES = {
        "_engine": V2,
        "_baseline": V2,
        "_avx2": V3,
        "_avx512": [*V4, "-mprefer-vector-width=512"],
    }
elif platform.machine() in ("aarch64", "arm64"):
    MODULES = {"_engine": [], "_neon": []}
else:
    MODULES = {"_engine": [], "_baseline": []}


class BuildOrExplain(build_ext):
    """Let the install go on without a compiler, and keep the reason for `mlcore info`."""

    def build_extension(self, extension):
        module = extension.name.rpartition(".")[2]
        built = Path(self.get_ext_fullpath(extension.name))
        report = built.with_name(f"{module}.failure.txt")
        report.unlink(missing_ok=True)
        try:
            super().build_extension(extension)
        except Exception as error:
            report.parent.mkdir(parents=True, exist_ok=True)
            compiler = getattr(self.compiler, "compiler_so", [self.compiler.compiler_type])[0]
            report.write_text(
                f"the C compiler {compiler!r} failed ({type(error).__name__}); "
                "`pip install -v` shows what it printed\n",
                encoding="utf-8",
            )
            self.warn(f"{extension.name} was not built: {error}")


setup(
    ext_modules=cythonize(
        [
            Extension(
                f"mlcore.kernels.native.{module}",
                [str(FOLDER / f"{module}.pyx")],
                depends=[str(path) for kind in ("*.pxi", "*.h") for path in FOLDER.glob(kind)],
                extra_compile_args=[*FLAGS, *flags],
                optional=True,
            )
            for module, flags in MODULES.items()
        ],
        language_level=3,
    ),
    cmdclass={"build_ext": BuildOrExplain},
)
