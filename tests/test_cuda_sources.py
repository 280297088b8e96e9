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


def compiled(source: Path, architecture: str, folder: Path) -> Path:
    """The shared library of a source for one architecture, built with the contract's flags."""
    library = folder / f"{source.stem}.so"
    target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    command = ["nvcc", "-shared", "-Xcompiler", "-fPIC", "--Werror", "all-warnings", target, "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return library


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_compiles_and_exports_its_launchers(source: Path, architecture: str, tmp_path: Path) -> None:
    library = ctypes.CDLL(str(compiled(source, architecture, tmp_path)))
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
