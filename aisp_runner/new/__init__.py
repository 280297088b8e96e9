"""`aisp new`: files for a workload, a protection, an attack or a chapter that run as they are made, to be changed."""
