"""Builds the images of the connect VM and of the demo VM from Debian packages, reproducibly."""
