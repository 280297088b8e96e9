"""Tests of `aisp review`."""
