"""The program inside the connect VM (docs/protocol.md 10).

It holds each connection attempt to the static IP until the share has answered, then moves
the bytes between the client and a connection that vconnect parked. Standard library of
Python 3.11-minimal only, and few imports: under emulation each costs what a request costs.

wire      what crosses the control port, shared with vconnect's side
loop      epoll and deadlines
netlink   nfnetlink_queue: packets out of the kernel, verdicts into it
ruleset   what nft is told
splice    two sockets, joined in the kernel
parking   the control port: the challenge, parked connections, the datagram link
syns      TCP: held SYNs, verdicts, accepted connections
flows     UDP: flows, replies, refusals
service   all of it, started
"""
