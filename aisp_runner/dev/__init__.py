"""Benchmarks of the runner itself, of its clock, statistics and processes: `python -m aisp_runner.dev.bench`.

Nothing of the runner imports this package.
"""
