"""What the relay's operator sees of it while it runs: metrics, health, logs."""
