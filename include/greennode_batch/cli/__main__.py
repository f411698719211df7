"""`python -m greennode_batch.cli`."""

import sys

from greennode_batch.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
