"""`python -m overread` is the command line too."""

import sys

from overread.cli import main

sys.exit(main())
