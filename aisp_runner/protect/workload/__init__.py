"""Protections of the category 'workload'."""
