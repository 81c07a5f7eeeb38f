"""``python -m tollkeeper_cli``."""

import sys

from tollkeeper_cli.main import main

sys.exit(main())
