"""Who catches what: this project's judge beside other harnesses, on the same attacks and their honest twins.

| module | what |
|---|---|
| `problem.py` | an attack with its workload, as plain text and shapes: what every harness is given |
| `kernelbench.py`, `sol_execbench.py`, `gpu_mode.py` | that in a harness's own format, its own entry point, and its answer |
| `own.py` | the same through this project's line |
| `process.py` | a harness's process, ended after a time limit |
| `rows.py` | the answers as JSON (schemas/judges.schema.json) and as a table |

The other harnesses' code is no part of this repository: their checkouts and what those import lie in a folder that the command
line names (`python -m aisp_runner.dev.judges --help`).
"""
