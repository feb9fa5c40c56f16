"""What visitors of the public URL ask for: which site, who may, what is changed, what is shown."""
