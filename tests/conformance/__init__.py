"""HTTP through the gateway compared with HTTP through nginx, both in front of one application.

`python -m tests.conformance` prints how they differ, with `--write` into docs/http-conformance.md.
`cases_*` say what is sent and answered, `application` and `visitor` do it and record what they
see, `proxies` starts the two, `compare` finds differences, `explanations` has a reason for each.
"""
