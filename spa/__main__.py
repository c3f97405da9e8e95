"""``python -m spa``: the same as the ``spa`` command."""

import sys

from spa.cli.main import main

sys.exit(main())
