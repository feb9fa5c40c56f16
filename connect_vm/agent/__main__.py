"""`python3 /agent/__main__.py`: make the folder a package, whatever its name, and start."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(HERE)
    # not importlib, whose import takes 0.06 s under emulation
    __import__(os.path.basename(HERE) + ".service", fromlist=["main"]).main()
