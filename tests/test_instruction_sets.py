"""Which instruction sets were built, which one is chosen, and what stands in each module."""

import functools
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mlcore import kernels, system
from mlcore.kernels import native
from mlcore.kernels.errors import InputError

STATUS = {entry.name: entry for entry in kernels.status()}
SETS = native.INSTRUCTION_SETS
BUILT = [name for name in SETS if STATUS[f"native-{name}"].available]
REASONS = [STATUS[f"native-{name}"].reason for name in SETS]

needs_native = pytest.mark.skipif(
    all(reason.startswith("not built when mlcore was installed") for reason in REASONS),
    reason=f"no instruction set was built: {REASONS[-1]}",
)

# The words by which the system names what setup.py lets the compiler use.
AVX2 = {"avx2", "fma", "bmi1", "bmi2"}
AVX512 = {*AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
NEEDED = {"avx512": AVX512, "avx2": AVX2}


def run(*arguments, folder, **environment):
    """Run Python with only the choices given."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MLCORE_")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**kept, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def plain_processor(monkeypatch):
    """A processor with nothing but the instruction set that all have."""
    engine = importlib.import_module(f"{native.__name__}._engine")
    monkeypatch.setattr(engine, "has", lambda name: name == SETS[-1])
    monkeypatch.setattr(kernels, "_loaded", {})
    monkeypatch.delenv("MLCORE_ISA", raising=False)
    monkeypatch.delenv("MLCORE_BACKEND", raising=False)


@needs_native
class TestTheProcessorsOwn:
    @pytest.mark.parametrize("name", SETS)
    def test_what_the_processor_has_was_built(self, name):
        """The system's word counts: `has` itself could be wrong."""
        try:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            pytest.skip("the system does not list what the processor has")
        has = NEEDED.get(name, set()) <= set(text.split())
        entry = STATUS[f"native-{name}"]
        assert entry.available == has, entry.reason
        assert has or entry.reason == f"this processor has no {name}"

    @pytest.mark.skipif("MLCORE_ISA" in os.environ, reason="MLCORE_ISA chooses")
    def test_the_best_one_is_chosen(self):
        assert kernels.get("native").module is kernels.get(f"native-{BUILT[0]}").module


TRAIN = """
import numpy as np
import mlcore
from mlcore import kernels

chosen = kernels.get()
x = np.random.default_rng(1).standard_normal((40, 7)).astype(np.float32)
model = mlcore.Sequential([mlcore.Dense(9, "tanh"), mlcore.Dense(3)], seed=1).build(7)
model.fit(
    x, x[:, :3].argmax(axis=1), loss="softmax_cross_entropy", optimizer=mlcore.SGD(0.1),
    epochs=20, batch_size=8, verbose=0,
)
print(chosen.name, chosen.module.__name__, model.backend is chosen, model.history["loss"][-1] < 0.9)
"""


@needs_native
class TestChoosingOne:
    @pytest.mark.parametrize("name", BUILT)
    def test_by_the_environment(self, tmp_path, name):
        result = run("-c", TRAIN, folder=tmp_path, MLCORE_ISA=name)
        assert result.stdout.split() == ["native", f"{native.__name__}._{name}", "True", "True"], (
            result.stderr
        )

    @pytest.mark.parametrize("name", BUILT)
    def test_info_names_it(self, tmp_path, name):
        result = run("-m", "mlcore", "info", folder=tmp_path, MLCORE_ISA=name)
        assert re.search(rf"^instruction set +{name}$", result.stdout, re.MULTILINE)
        assert re.search(r"^backend native +in use$", result.stdout, re.MULTILINE)

    def test_an_empty_choice_is_none(self, monkeypatch):
        monkeypatch.setenv("MLCORE_ISA", "")
        assert native.kernels() is native.load(BUILT[0])


class TestAChoiceThatIsWrong:
    ERROR = r"unknown instruction set in MLCORE_ISA 'sse9'\..* Known: "

    def test_for_those_who_train(self, tmp_path):
        result = run("-m", "mlcore", "train", "--epochs", "1", folder=tmp_path, MLCORE_ISA="sse9")
        assert result.returncode == 2
        assert re.fullmatch(rf"mlcore: {self.ERROR}.*\n", result.stderr)
        assert not list(tmp_path.iterdir())

    def test_for_those_who_ask_what_there_is(self, tmp_path):
        result = run("-m", "mlcore", "info", folder=tmp_path, MLCORE_ISA="sse9")
        assert result.returncode == 0, result.stderr
        assert re.search(rf"^backend +{self.ERROR}", result.stdout, re.MULTILINE)
        assert re.search(rf"^backend native +missing: {self.ERROR}", result.stdout, re.MULTILINE)
        assert re.search(r"^backend numpy +available$", result.stdout, re.MULTILINE)
        assert re.search(r"^instruction set +none$", result.stdout, re.MULTILINE)

    def test_no_other_backend_steps_in(self, monkeypatch):
        monkeypatch.setenv("MLCORE_ISA", "sse9")
        monkeypatch.delenv("MLCORE_BACKEND", raising=False)
        monkeypatch.setattr(kernels, "_loaded", {})
        with pytest.raises(InputError, match=self.ERROR):
            kernels.get()
        assert kernels.get("numpy").name == "numpy"

    @needs_native
    @pytest.mark.usefixtures("plain_processor")
    @pytest.mark.skipif(len(SETS) == 1, reason="every processor of this kind has all there is")
    def test_what_the_processor_lacks(self, monkeypatch):
        monkeypatch.setenv("MLCORE_ISA", SETS[0])
        error = f"MLCORE_ISA is {SETS[0]}: this processor has no {SETS[0]}"
        with pytest.raises(InputError, match=f"^{error}$"):
            kernels.get()
        lines = system.report()
        assert lines["backend"] == error
        assert lines["backend native"] == f"missing: {error}"
        assert lines[f"backend native-{SETS[0]}"] == f"missing: this processor has no {SETS[0]}"

    @needs_native
    @pytest.mark.usefixtures("plain_processor")
    def test_a_backend_that_the_processor_lacks(self):
        for name in SETS[:-1]:
            with pytest.raises(InputError, match=f"cannot be used: this processor has no {name}$"):
                kernels.get(f"native-{name}")
        assert kernels.get().module is native.load(SETS[-1])


# A line of objdump is an address, a tab and the instruction; newer ones write the encoding first,
# in braces, where the assembler might choose another.
INSTRUCTION = re.compile(r"^ +[0-9a-f]+:\t(?:\{\w+\} )*(\w+)(.*)$", re.MULTILINE)
# All instructions on vectors in the encoding that came with AVX begin with v. These are the other
# ones that the level x86-64-v2 lacks and a compiler would use.
NEW_ON_INTEGERS = {
    "adcx", "adox", "andn", "bextr", "blsi", "blsmsk", "blsr", "bzhi", "lzcnt", "movbe", "mulx",
    "pdep", "pext", "rorx", "sarx", "shlx", "shrx", "tzcnt",
}  # fmt: skip


@functools.cache
def disassembled(module):
    """The instructions of a compiled module, each once: (mnemonic, operands)."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only x86 has instructions that some of its processors lack")
    if shutil.which("objdump") is None:
        pytest.skip("objdump, of the binutils, is not installed")
    spec = find_spec(f"{native.__name__}.{module}")
    assert spec is not None, f"{module} was not built"
    listing = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", spec.origin],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return set(INSTRUCTION.findall(listing))


def reading(module, pattern):
    """Those of its instructions whose operands match."""
    return {entry for entry in disassembled(module) if re.search(pattern, entry[1])}


@needs_native
class TestWhatStandsInTheModules:
    @pytest.mark.parametrize("module", ["_engine", "_baseline"])
    def test_all_that_an_old_processor_must_read_it_can(self, module):
        found = disassembled(module)
        assert {"mov", "call", "ret"} <= {name for name, _ in found}
        wide = {name for name, _ in found if name.startswith("v") or name in NEW_ON_INTEGERS}
        assert not wide
        assert not reading(module, r"%[yz]mm|%k[0-7]\b|%xmm(1[6-9]|[23]\d)")

    def test_the_kernels_for_all_do_multiply_vectors(self):
        assert {"mulps", "mulpd", "addps", "addpd"} <= {n for n, _ in disassembled("_baseline")}

    def test_avx2_needs_nothing_of_avx512(self):
        assert not reading("_avx2", r"%zmm|%k[0-7]\b|%[xy]mm(1[6-9]|[23]\d)")

    @pytest.mark.parametrize(("module", "register"), [("_avx2", "%ymm"), ("_avx512", "%zmm")])
    def test_each_uses_the_width_it_is_made_for(self, module, register):
        products = {name for name, _ in reading(module, register) if name.startswith("vfmadd")}
        assert {name[-2:] for name in products} == {"ps", "pd"}
