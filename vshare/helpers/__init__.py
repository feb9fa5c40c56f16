"""Programs that are run inside the shared machine, over SSH: read as data, never imported."""
