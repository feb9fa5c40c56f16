"""The tools that people would pick instead."""
