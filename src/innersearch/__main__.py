"""`python -m innersearch`."""

import sys

from innersearch.cli import main

sys.exit(main())
