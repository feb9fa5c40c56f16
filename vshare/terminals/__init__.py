"""Terminals of the machine that the sharer shows to guests, and lets them type in."""
