"""Whether the arms had the same machine: cores, memory, software, clocks, company."""
