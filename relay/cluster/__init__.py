"""Several relays as one, by way of a Redis (docs/protocol.md 4.3, docs/scaling.md)."""
