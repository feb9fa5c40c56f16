"""What goes into the connect VM besides Debian's packages."""
