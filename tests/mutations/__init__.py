"""Defences taken away one by one, in a copy of the source: for each, a test has to fail."""
