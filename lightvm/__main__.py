"""Run the ``lightvm`` command as ``python -m lightvm``."""

import sys

from lightvm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
