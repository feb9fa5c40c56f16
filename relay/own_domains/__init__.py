"""Domains of sharers' own: who may have which, and what browsers are shown there."""
