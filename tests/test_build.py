"""Staging folders, the environment of a worker, and libraries built by a compiler: here a script that logs its calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aisp_runner import build
from aisp_runner.build import compile_cuda, stage
from aisp_runner.errors import BuildError
from aisp_runner.sources import describe

NVCC = """#!/bin/sh
if [ "$1" = --version ]; then echo "release ${NVCC_RELEASE:-1}"; exit 0; fi
echo "$@" >> "$NVCC_LOG"
if grep -q refuse_me "$NVCC_SOURCE"; then for i in $(seq 40); do echo "line $i" >&2; done; exit 1; fi
while [ "$1" != -o ]; do shift; done
cp "$NVCC_SOURCE" "$2"
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CUDA C++ file, beside which a compiler can be found on the PATH that logs its calls to nvcc.log."""
    tools, file = tmp_path / "bin", tmp_path / "code" / "fast.cu"
    for folder in (tools, file.parent):
        folder.mkdir()
    (tools / "nvcc").write_text(NVCC)
    (tools / "nvcc").chmod(0o755)
    file.write_text('#include "sizes.h"\nextern "C" int launch() { return 0; }\n')
    (file.parent / "sizes.h").write_text("#define N 4\n")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NVCC_LOG", str(tmp_path / "nvcc.log"))
    monkeypatch.setenv("NVCC_SOURCE", str(file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


def built(source: Path) -> int:
    """How often the compiler was run."""
    log = source.parents[1] / "nvcc.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_library_is_built_for_the_architecture_with_the_flags(source: Path) -> None:
    library = compile_cuda(source, "90a")
    assert library.read_bytes() == source.read_bytes()
    assert library.parent == source.parents[1] / "cache" / "aisp-run" / "cuda" and library.name.startswith("fast-")
    asked = (source.parents[1] / "nvcc.log").read_text()
    assert "-gencode=arch=compute_90a,code=sm_90a" in asked and "-O3" in asked and f"-I {source.parent}" in asked


def test_a_library_is_built_once(source: Path) -> None:
    assert compile_cuda(source, "90a") == compile_cuda(source, "90a")
    assert built(source) == 1


@pytest.mark.parametrize("what", ["source", "header", "architecture", "compiler"])
def test_a_library_is_built_again_when_anything_it_came_from_changes(
    source: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first, architecture = compile_cuda(source, "90a"), "90a"
    if what == "source":
        source.write_text(source.read_text() + "// more\n")
    elif what == "header":
        (source.parent / "sizes.h").write_text("#define N 8\n")
    elif what == "compiler":
        monkeypatch.setenv("NVCC_RELEASE", "2")
    else:
        architecture = "100a"
    assert compile_cuda(source, architecture) != first
    assert built(source) == 2


def test_a_refused_source_is_told_by_the_compilers_last_lines_and_leaves_nothing(source: Path) -> None:
    source.write_text("refuse_me")
    with pytest.raises(BuildError) as refused:
        compile_cuda(source, "90a")
    lines = str(refused.value).splitlines()
    assert lines[0] == "fast.cu: nvcc refused it:" and lines[-1] == "line 40" and len(lines) == 13
    assert list((build.cache_folder() / "cuda").iterdir()) == []


def test_a_compiler_that_takes_too_long_is_stopped(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "NVCC_SECONDS", 0.2)
    nvcc = source.parents[1] / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\n[ $1 = --version ] || exec sleep 20\n")
    with pytest.raises(BuildError, match=r"fast\.cu: nvcc took more than 0 s and was stopped"):
        compile_cuda(source, "90a")


def test_without_a_compiler_the_error_says_what_to_do(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match=r"fast\.cu: needs nvcc, which is not on the PATH\. .*`aisp doctor`"):
        compile_cuda(source, "90a")


def test_staging_copies_the_source_with_its_siblings_and_libraries(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source.parent
    (folder / "own.py").write_text("import beside\nfrom package import part\n\ndef fast(a, c): pass\n")
    (folder / "beside.py").write_text("")
    (folder / "stranger.py").write_text("")
    (folder / "package").mkdir()
    for name in ("__init__", "part"):
        (folder / "package" / f"{name}.py").write_text("")
    monkeypatch.setattr(build, "_architecture", lambda: "90a")  # of a GPU that is not here
    staging = stage(folder.parent / "staged", "candidate", describe(folder / "own.py", ["fast.cu"]))
    code = staging.source.parent
    assert staging.folder == folder.parent / "staged" / "candidate" and staging.source.name == "own.py"
    copied = {str(p.relative_to(code)) for p in code.rglob("*.py")}
    assert copied == {"own.py", "beside.py", "package/__init__.py", "package/part.py"}
    library = Path(staging.environment["AISP_BUILD_DIR"]) / "fast.so"
    assert library.read_bytes() == source.read_bytes()


def test_nothing_is_built_for_a_cpu_case(source: Path) -> None:
    (source.parent / "own.py").write_text("def reference(x):\n    return x\n")
    staging = stage(source.parents[1] / "staged", "candidate", describe(source.parent / "own.py", ["fast.cu"]), "cpu")
    assert built(source) == 0 and not list((staging.folder / "build").iterdir())
    assert (staging.folder / "src" / "fast.cu").exists()


def test_a_worker_keeps_only_the_variables_that_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PYTHONPATH", "LD_PRELOAD", "http_proxy"):
        monkeypatch.setenv(name, "of the judge")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    (tmp_path / "own.py").write_text("def fast(a, c): pass\n")
    environment = stage(tmp_path, "candidate", describe(tmp_path / "own.py")).environment
    assert "of the judge" not in environment.values()
    assert environment["CUDA_VISIBLE_DEVICES"] == "1" and environment["PATH"] == os.environ["PATH"]
    assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == "1"
    assert environment["OMP_WAIT_POLICY"] == os.environ.get("OMP_WAIT_POLICY", "PASSIVE")


def test_every_cache_of_a_worker_is_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def fast(a, c): pass\n")
    one, other = (stage(tmp_path, name, describe(tmp_path / "own.py")) for name in ("baseline", "candidate"))
    for name in ("HOME", "TMPDIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME", "CUDA_CACHE_PATH"):
        assert Path(one.environment[name]).is_relative_to(one.folder)
        assert one.environment[name] != other.environment[name]
    assert Path(one.environment["TMPDIR"]).is_dir()
