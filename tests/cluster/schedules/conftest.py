"""The helpers beside these tests are imported by name, as in the other rooms."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
