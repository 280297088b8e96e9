"""Where the cases of a plan are run: here, or as tasks of Ray or Slurm whose records come back. docs/engines.md."""
