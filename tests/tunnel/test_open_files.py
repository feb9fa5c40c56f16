import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from tunnel.open_files import open_files_limit, raise_open_files_limit
before = open_files_limit()
raise_open_files_limit()
print(before, open_files_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""


@pytest.mark.parametrize(("soft", "hard"), [(64, 300), (300, 300)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int) -> None:
    shown = subprocess.check_output([sys.executable, "-c", PROGRAM, str(soft), str(hard)])
    assert shown.split() == [b"%d" % soft, b"%d" % hard, b"%d" % hard]
