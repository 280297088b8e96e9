"""The process in which KernelBench evaluates: python -m aisp_runner.dev.judges.kernelbench_child FOLDER

Reads the problem's two files from the folder and writes answer.json there. It imports KernelBench from PYTHONPATH.
"""

from __future__ import annotations

import sys
import time
from json import dumps  # bound before a candidate can replace it
from pathlib import Path
from typing import Any

from aisp_runner.dev.judges.kernelbench import ANSWER, MODEL, MODEL_NEW, TRIALS


def main(folder: Path) -> int:
    """Static check, then the evaluation, whether or not the check passes."""
    import torch
    from kernelbench import eval as kernel_eval
    from kernelbench.kernel_static_checker import validate_kernel_static

    reference, code = (folder / MODEL).read_text(), (folder / MODEL_NEW).read_text()
    valid, errors, warnings = validate_kernel_static(code, backend="pytorch", precision="fp32")
    answer: dict[str, Any] = {"static": {"valid": valid, "errors": errors, "warnings": warnings}}
    begin = time.perf_counter()
    clock = time.perf_counter
    try:
        result = kernel_eval.eval_kernel_against_ref(
            original_model_src=reference,
            custom_model_src=code,
            measure_performance=True,
            timing_method="cuda_event",
            device=torch.device("cuda:0"),
            backend="cuda",
            precision=torch.float32,
            **TRIALS,
        )
        answer["result"] = result and result.model_dump()
    except Exception as error:  # its own scripts catch everything here as well, and count it as a failure
        answer["raised"] = f"{type(error).__name__}: {error}"
    answer["evaluation_seconds"] = clock() - begin
    (folder / ANSWER).write_text(dumps(answer, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
