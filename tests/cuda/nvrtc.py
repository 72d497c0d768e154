"""NVIDIA's run-time compiler, from the package nvidia-cuda-nvrtc-cu12: it needs no GPU."""

import ctypes
from importlib.util import find_spec
from pathlib import Path


def library():
    """Return the compiler, or None where the package is not installed."""
    try:
        found = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    folders = found.submodule_search_locations if found else []
    paths = [path for folder in folders for path in Path(folder, "lib").glob("libnvrtc.so.*")]
    return ctypes.CDLL(str(min(paths, key=lambda path: len(path.name)))) if paths else None


def compile(nvrtc, text, options):
    """Return the size of the machine code, and what the compiler has to say.

    A size of zero means that it did not compile.
    """
    program = ctypes.c_void_p()
    given = [option.encode() for option in options]
    assert not nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None
    )
    failed = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    size.value = 0
    if not failed:
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return size.value, log.value.decode()
