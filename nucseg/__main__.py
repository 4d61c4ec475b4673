"""The command line as a module: ``python -m nucseg``."""

import sys

from nucseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
