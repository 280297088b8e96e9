"""Protections of the category 'memory'."""
