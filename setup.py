"""The compiled extension and its compiler flags; everything else is in pyproject.toml."""

import platform
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-g0"]
if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
    # What x86-64-v2 means, in words that older compilers know too: the oldest processor that a
    # portable wheel promises to run on.
    FLAGS += ["-msse4.2", "-mpopcnt", "-mcx16"]


class BuildOrExplain(build_ext):
    """Let the install go on without a compiler, and keep the reason for `mlcore info`."""

    def build_extension(self, extension):
        report = Path(self.get_ext_fullpath(extension.name)).with_name("build_failure.txt")
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
                "mlcore.kernels.native._kernels",
                ["kernels/native/_kernels.pyx"],
                depends=[str(path) for path in Path("kernels/native").glob("*.p*")],
                extra_compile_args=FLAGS,
                optional=True,
            )
        ],
        language_level=3,
    ),
    cmdclass={"build_ext": BuildOrExplain},
)
