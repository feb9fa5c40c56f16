"""What is dangerous to share stays closed until the sharer has said otherwise."""

from __future__ import annotations

import dataclasses

from tunnel.console import Console
from tunnel.errors import UsageError
from tunnel.prompt import ask_line
from vshare.exposure import Report
from vshare.policy import Policy
from vshare.weaknesses.danger import Danger

ANSWER_WITHIN = 120.0  # seconds for each question; no answer is a no


async def confirm(policy: Policy, report: Report, console: Console) -> Policy:
    """Ask about each port that `policy` fences; the policy without those that are wanted.

    Where there is no terminal to ask on, all stay fenced.
    """
    fenced = dict(policy.fenced)
    for danger in report.dangers:
        if danger.port in fenced and await _is_wanted(danger, console):
            del fenced[danger.port]
    return dataclasses.replace(policy, fenced=fenced)


async def _is_wanted(danger: Danger, console: Console) -> bool:
    console.warn(f"{danger.title} on port {danger.port}: {danger.why}")
    console.detail(danger.advice)
    try:
        answer = await ask_line(f"Share port {danger.port} all the same? [y/N] ", ANSWER_WITHIN)
    except UsageError:
        return False  # no terminal
    return answer.strip().lower() in ("y", "yes")
