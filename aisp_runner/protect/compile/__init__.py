"""Protections of the category 'compile'."""
