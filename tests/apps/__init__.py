"""Applications that know nothing of us, behind the public URL and in a real browser."""
