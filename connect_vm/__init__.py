"""The connect side: join a share, offer it as SOCKS5 and as a static IP of a proxy VM."""
