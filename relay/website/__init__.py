"""The relay's web pages: who has a token looks at his shares, their history, and his tokens."""
