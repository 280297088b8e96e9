"""`aisp show --config`: what a workload measures with these settings, and which file and line says so."""
