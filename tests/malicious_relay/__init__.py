"""Attacks of whoever sits on the wire; more of them are in tests/test_malicious_relay.py."""
