"""`python -m workflows` is `deepprompt`."""

import sys

from workflows.cli import main

sys.exit(main())
