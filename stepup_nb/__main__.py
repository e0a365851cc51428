"""``python -m stepup_nb`` is ``stepup-nb``."""

import sys

from stepup_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
