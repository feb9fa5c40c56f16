"""The share side: find the machine, reach it, decide who may open what, serve guests."""
