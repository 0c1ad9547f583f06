"""`python -m zellige`: the command line."""

import sys

from zellige.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
