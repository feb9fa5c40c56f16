"""The lab: hosts on different networks, each a set of Linux namespaces of this machine.

`python -m tests.lab up` for people, `Lab` for tests. What is real in it: the kernel's TCP,
UDP and NAT, libvirtd, QEMU, Vagrant, the services. What is not: distance and loss.
"""

from tests.lab.host import Host
from tests.lab.lab import Lab

__all__ = ["Host", "Lab"]
