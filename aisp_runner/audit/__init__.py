"""Attacks on the runner, run through the real line: refused, alive without protection, honest twin accepted."""
