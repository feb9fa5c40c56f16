"""The relay: peek at what arrives on one port, pair it with a parked connection, splice."""
