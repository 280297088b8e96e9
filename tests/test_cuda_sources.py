"""Every CUDA C++ file under kernels/ and labs/ compiles, and exports the launchers that the Python file beside it names."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("kernels", "labs") for path in (ROOT / folder).rglob("*.cu"))
ARCHITECTURES = ("80", "90a", "100a")

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")


def compiled(source: Path, folder: Path) -> Path:
    """The shared library of a source for all architectures, built with the contract's flags, as many at a time as there are
    cores.
    """
    library = folder / f"{source.stem}.so"
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    command = ["nvcc", "-shared", "-Xcompiler", "-fPIC", "--Werror", "all-warnings", "--threads", "0", *targets]
    done = subprocess.run([*command, "-o", str(library), str(source)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return library


@needs_nvcc
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_compiles_for_every_architecture_and_exports_its_launchers(source: Path, tmp_path: Path) -> None:
    library = ctypes.CDLL(str(compiled(source, tmp_path)))
    beside = "".join(path.read_text(encoding="utf-8") for path in source.parent.glob("*.py") if source.stem in path.read_text())
    for launcher in re.findall(r'extern "C" int (\w+)', source.read_text(encoding="utf-8")):
        assert hasattr(library, launcher)
        assert launcher in beside, f"{launcher} is called by no Python file beside {source.name}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_has_a_plain_c_interface(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert 'extern "C" int ' in text
    assert "cudaGetLastError()" in text
    assert "torch/" not in text
