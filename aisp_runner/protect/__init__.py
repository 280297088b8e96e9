"""Protections: what the judge and its workers do so that a result cannot mislead, one module each. See base.py for the
contract.
"""
