"""Protections of the category 'cuda'."""
