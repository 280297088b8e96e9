"""Protections of the category 'distributed'."""
