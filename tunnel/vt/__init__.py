"""Terminals: what programs write to one, what it then shows, and the one that a person sits at."""
