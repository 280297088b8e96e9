"""Protections of the category 'timing'."""
