"""What works between here and a relay, step by step, and what to tell who runs the network.

`finding` has what a step says and how steps are run, `way` the steps to a relay, `verdict` what
follows from them. Nothing here prints: `vshare doctor` and `vconnect doctor` do.
"""
