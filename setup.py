"""The compiled extensions and their compiler flags; everything else is in pyproject.toml."""

import os
import platform
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = "mlcore.kernels.native"
FOLDER = Path("kernels/native")
FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"]
# Without the symbols, which only debuggers and profilers look at.
LINK = ["-Wl,-s"] if sys.platform == "linux" else []

# What Cython's own code for arrays needs is compiled once, for all modules together.
SHARED = "_shared"
# The level x86-64-v2 in words that older compilers know too: the oldest processor that a portable
# wheel promises to run on. Better ones are chosen at import, when processor.h has asked for all
# that is said here.
V2 = ["-msse4.2", "-mpopcnt", "-mcx16"]
AVX2 = [*V2, "-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))]
if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
    MODULES = {
        SHARED: V2,
        "_engine": V2,
        "_baseline": V2,
        "_avx2": AVX2,
        "_avx512": [*AVX512, "-mprefer-vector-width=512"],
    }
elif platform.machine() in ("aarch64", "arm64"):
    MODULES = {SHARED: [], "_engine": [], "_neon": []}
else:
    MODULES = {SHARED: [], "_engine": [], "_baseline": []}


class BuildOrExplain(build_ext):
    """Let the install go on without a compiler, and keep the reason for `mlcore info`."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

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
                f"{PACKAGE}.{module}",
                # Cython writes the shared module itself.
                [str(FOLDER / f"{module}.{'c' if module == SHARED else 'pyx'}")],
                depends=[str(path) for kind in ("*.pxi", "*.h") for path in FOLDER.glob(kind)],
                extra_compile_args=[*FLAGS, *flags],
                extra_link_args=LINK,
                optional=True,
            )
            for module, flags in MODULES.items()
        ],
        language_level=3,
        shared_utility_qualified_name=f"{PACKAGE}.{SHARED}",
    ),
    cmdclass={"build_ext": BuildOrExplain},
)
