"""What runs inside the demo VM: a web site, echo services and a DNS server. Python's own
library only; the package is `demo` in the VM."""
