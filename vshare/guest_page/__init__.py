"""The guest page: what a browser with the visitors' passcode sees and does, nothing installed."""
