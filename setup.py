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
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
# Without what only debuggers and profilers look at: symbols, and tables of each function's frame.
FLAGS += ["-g0", "-fno-asynchronous-unwind-tables"]
LINK = ["-Wl,-s,-z,noseparate-code"] if sys.platform == "linux" else []
# Smaller, and as fast where little time is spent.
SMALL = ["-O2", "-fpeel-loops"]

# The level x86-64-v2 in words that older compilers know too: the oldest processor that a portable
# wheel promises to run on. Better ones are chosen at import, when processor.h has asked for all
# that is said here.
V2 = ["-msse4.2", "-mpopcnt", "-mcx16"]
AVX2 = [*V2, "-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))]
if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
    MODULES = {
        "_engine": [*V2, *SMALL],
        # For the processors of before 2013; up to 5 % slower for it.
        "_baseline": [*V2, *SMALL],
        "_avx2": AVX2,
        "_avx512": [*AVX512, "-mprefer-vector-width=512"],
    }
elif platform.machine() in ("aarch64", "arm64"):
    MODULES = {"_engine": SMALL, "_neon": []}
else:
    MODULES = {"_engine": SMALL, "_baseline": []}
if sys.platform == "win32":
    FLAGS, MODULES = [], {module: [] for module in MODULES}


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
                [str(FOLDER / f"{module}.pyx")],
                depends=[str(path) for kind in ("*.pxi", "*.h") for path in FOLDER.glob(kind)],
                extra_compile_args=[*FLAGS, *flags],
                extra_link_args=LINK,
                optional=True,
            )
            for module, flags in MODULES.items()
        ],
        language_level=3,
    ),
    cmdclass={"build_ext": BuildOrExplain},
)
