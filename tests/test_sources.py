from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.sources import changed, closure, defined, describe, functions, resolve


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_closure_follows_siblings_recursively_and_leaves_packages_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        main_py="import torch\nimport near\nfrom far import thing\n",
        near_py="def f():\n    import inner.deep\n",
        far_py="import main\n",
        unused_py="",
        inner__deep_py="from . import side\nfrom .. import nothing\n",
        inner__side_py="",
    )
    found = [str(path.relative_to(tmp_path)) for path in closure(tmp_path / "main.py")]
    assert found == ["main.py", "far.py", "inner/deep.py", "inner/side.py", "near.py"]


def test_closure_never_imports(tmp_path: Path) -> None:
    write(tmp_path, loud_py="import louder\nraise SystemExit('imported')\n", louder_py="raise SystemExit('imported')\n")
    assert len(closure(tmp_path / "loud.py")) == 2
    assert "loud" not in sys.modules


def test_description_holds_a_digest_of_every_file_also_cuda_and_its_headers(tmp_path: Path) -> None:
    write(tmp_path, k_py="import helper\n", helper_py="X = 1\n")
    (tmp_path / "k.cu").write_text('#include <stdio.h>\n  # include "tile.h"\n#include "gone.h"\n')
    (tmp_path / "tile.h").write_text('#include "deep.cuh"\n')
    (tmp_path / "deep.cuh").write_text("// end\n")
    source = describe(tmp_path / "k.py", ["k.cu"])
    assert sorted(source.sha256) == ["deep.cuh", "helper.py", "k.cu", "k.py", "tile.h"]
    assert source.sha256["helper.py"] == hashlib.sha256(b"X = 1\n").hexdigest()
    assert source.cuda == ("k.cu",)
    assert resolve(source) == tmp_path / "k.py"


def test_change_in_any_file_is_seen_and_named(tmp_path: Path) -> None:
    write(tmp_path, k_py="import helper\n", helper_py="X = 1\n")
    source = describe(tmp_path / "k.py")
    assert changed(source) == []
    (tmp_path / "helper.py").write_text("X = 2\n")
    assert changed(source) == ["helper.py"]
    (tmp_path / "k.py").unlink()
    assert changed(source) == ["helper.py", "k.py"]


def test_source_below_the_content_root_is_named_relative_to_it() -> None:
    path = next((content_root() / "kernels").rglob("*.py"))
    source = describe(path)
    assert source.path == path.relative_to(content_root()).as_posix()
    assert resolve(source) == path


def test_missing_cuda_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, k_py="")
    with pytest.raises(ConfigError, match=r"k\.cu: no such file\. `cuda:` names CUDA C\+\+ files beside k\.py\."):
        describe(tmp_path / "k.py", ["k.cu"])


KERNEL = """
import torch
from other import borrowed
try:
    import triton
except ImportError:
    triton = None

def plain(a, b, c):
    def inner(x): ...

def tuned(a, b, c, block=64, *, stages=2): ...

def keyword_only(a, *, c): ...

def any_number(*tensors): ...

if triton is not None:
    @triton.jit
    def guarded(a, c): ...

compiled = torch.compile(plain)
BLOCK = 64
"""


def test_functions_are_read_from_the_text_with_their_parameters(tmp_path: Path) -> None:
    write(tmp_path, k_py=KERNEL)
    found = functions(tmp_path / "k.py")
    assert set(found) == {"borrowed", "plain", "tuned", "keyword_only", "any_number", "guarded", "compiled"}
    assert found["plain"].parameters == ("a", "b", "c")
    assert found["plain"].line == 9
    assert found["tuned"].parameters == ("a", "b", "c")
    assert found["tuned"].shown == "tuned(a, b, c, block, stages)"
    assert found["keyword_only"].parameters == ("a", "c")
    assert found["any_number"].takes(("p", "q"))
    assert found["compiled"].takes(("p", "q"))
    assert not found["plain"].takes(("a", "c", "b"))
    assert defined(tmp_path / "k.py") == ["plain", "tuned", "keyword_only", "any_number", "guarded"]


@pytest.mark.parametrize("text", ["def f(:\n", "def f():\nreturn\n\x00"])
def test_file_that_is_not_python_is_refused_by_name(tmp_path: Path, text: str) -> None:
    write(tmp_path, bad_py=text)
    with pytest.raises(ConfigError, match=r"bad\.py: (line \d+: )?not Python: "):
        functions(tmp_path / "bad.py")
