"""From a source to something a worker can load: a private staging folder, and CUDA C++ built by nvcc.

Python and Triton sources are copied (the worker imports them; Triton compiles on the first call). Each CUDA C++ file becomes
a shared library of the same stem in the folder that the worker finds as AISP_BUILD_DIR. Libraries are kept by the digest of
what they were built from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.case import Source
from aisp_runner.errors import BuildError
from aisp_runner.sources import resolve, with_headers

NVCC_FLAGS = ("-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-lineinfo")
NVCC_SECONDS = 300.0

PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CC", "CXX"),
    *("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    *("TRITON_LIBCUDA_PATH", "TRITON_PTXAS_PATH"),
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"),
    *("NCCL_NVLS_ENABLE", "TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS"),
    *("NCCL_P2P_DISABLE", "NCCL_CUMEM_ENABLE", "NCCL_DEBUG"),
)
"""Environment variables a worker keeps. All others, credentials among them, stay with the judge."""

INDUCTOR = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0"}
"""Read when it is imported, which may be before a worker is there: no pool of compilers that works on in the others' turns, and
no headers compiled ahead, which go to a folder outside the worker's and are used once at most.
"""


@dataclass(frozen=True)
class Staging:
    """A worker's private folder."""

    folder: Path
    source: Path
    """The copied file to load."""
    environment: dict[str, str]
    digests: dict[str, str]
    """Of every file it was given, by path relative to the folder."""

    def compiles(self) -> bool:
        """Whether its sources call torch.compile by that name."""
        return any(b"torch.compile" in f.read_bytes() for f in (self.folder / "src").rglob("*.py"))

    def changed(self) -> list[str]:
        """Files that are no longer what they were when the folder was made, or are new beside them."""
        now = _digests(self.folder)
        return sorted(name for name in now.keys() | self.digests.keys() if now.get(name) != self.digests.get(name))


def stage(parent: Path, name: str, source: Source, device: str = "cuda") -> Staging:
    """Makes PARENT/NAME with the source's files, its libraries, and cache folders of its own. Raises BuildError.

    For the device "cpu" nothing is built: a source may have CUDA C++ for one device and torch for the other.
    """
    folder = parent / name
    code, build = folder / "src", folder / "build"
    for part in (code, build, folder / "tmp"):
        part.mkdir(parents=True)
    original = resolve(source)
    for relative in source.sha256:
        (code / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original.parent / relative, code / relative)
    for relative in source.cuda if device == "cuda" else ():
        shutil.copyfile(compile_cuda(original.parent / relative), build / f"{Path(relative).stem}.so")
    return Staging(folder, code / original.name, _environment(folder, build), _digests(folder))


def _digests(folder: Path) -> dict[str, str]:
    """Of every file beside the sources and libraries of a staging folder; workers write no bytecode there."""
    files = [f for part in ("src", "build") for f in sorted((folder / part).rglob("*")) if f.is_file()]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _environment(folder: Path, build: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    kept |= INDUCTOR
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    caches = {
        name: str(folder / name.lower())
        for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME", "CUDA_CACHE_PATH")
    }
    return kept | caches | {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "AISP_BUILD_DIR": str(build)}


def cache_folder() -> Path:
    """Where built libraries are kept: $XDG_CACHE_HOME/aisp-run or ~/.cache/aisp-run."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aisp-run"


def compile_cuda(file: Path, architecture: str | None = None) -> Path:
    """The shared library of one CUDA C++ file. architecture: such as "90a"; by default that of the first GPU.

    Raises BuildError with the compiler's last lines, or when there is no nvcc.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise BuildError(f"{file.name}: needs nvcc, which is not on the PATH. Install the CUDA toolkit, or run `aisp doctor`.")
    architecture = architecture or _architecture()
    flags = [*NVCC_FLAGS, f"-gencode=arch=compute_{architecture},code=sm_{architecture}"]
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    texts = [f.read_text() for f in with_headers(file)]
    key = hashlib.sha256("\n".join([version, *flags, *texts]).encode()).hexdigest()
    library = cache_folder() / "cuda" / f"{file.stem}-{key[:24]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            output = Path(scratch) / "out.so"
            _run_nvcc([nvcc, *flags, "-I", str(file.parent), str(file), "-o", str(output)], file)
            output.rename(library)
    return library


def _run_nvcc(command: list[str], file: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVCC_SECONDS)
    except subprocess.TimeoutExpired as slow:
        raise BuildError(f"{file.name}: nvcc took more than {NVCC_SECONDS:.0f} s and was stopped.") from slow
    if done.returncode != 0:
        raise BuildError(f"{file.name}: nvcc refused it:\n" + "\n".join((done.stderr or done.stdout).splitlines()[-12:]))


def _architecture() -> str:
    """The first GPU's architecture, with the architecture-specific features where it has them (90a, 100a)."""
    import torch

    major, minor = torch.cuda.get_device_capability(0)
    return f"{major}{minor}" + ("a" if major >= 9 else "")
