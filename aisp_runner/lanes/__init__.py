"""Several cases side by side on one machine: lanes, each with a process, CPU cores and, where it has one, a GPU of its own.

A lane is a judge in a process of its own; which cases it runs it is told by the process that holds the run's folder, and only
that one writes there. docs/sweeps.md says how lanes are asked for.
"""
