"""Protections of the category 'evaluation'."""
