"""Living attacks, one file each: a candidate that would win against an unprotected harness, and its honest twin."""
