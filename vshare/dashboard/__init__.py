"""The local page of a running share: its visitors' requests, its guests, its traffic."""
