"""aisp-run: a benchmark runner that says whether an optimized kernel is faster, and whether that may be believed."""

__version__ = "0.1.0"
