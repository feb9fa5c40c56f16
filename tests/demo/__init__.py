"""The demo: a real machine shared and connected to across the lab, and every way in tried."""
