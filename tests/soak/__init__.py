"""The soak: everything at once for a long time, with a fault a minute, nothing lost or wrong.

`python -m tests.soak --minutes N` (`make soak`). `world` sets up hosts, relay, share and guest;
`load` is what the guest's programs do, against `service`; `faults` break things and mend them;
`judge` says what was violated. The end-to-end tests of faults use the same parts.
"""
