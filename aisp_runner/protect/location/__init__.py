"""Protections of the category 'location'."""
