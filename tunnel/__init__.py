"""The shared core of vshare: names, certificates, wire formats, connections, pumps.

No command line and no policy of one side: `vshare`, `connect_vm` and `relay` build on it,
and it imports none of them. docs/protocol.md is the specification that it implements.
"""
