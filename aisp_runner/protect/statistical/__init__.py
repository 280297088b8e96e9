"""Protections of the category 'statistical'."""
