"""`python3 /agent/__main__.py`: make the folder a package, whatever its name, and start."""

import os
import sys
from importlib import import_module

HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(HERE)
    import_module(os.path.basename(HERE) + ".service").main()
