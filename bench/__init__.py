"""Measurements that the documentation quotes, to be run again."""
