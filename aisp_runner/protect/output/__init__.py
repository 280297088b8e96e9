"""Protections of the category 'output'."""
