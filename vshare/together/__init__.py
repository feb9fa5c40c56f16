"""Working together: what a share tells its guests of itself, by name and as it changes."""
