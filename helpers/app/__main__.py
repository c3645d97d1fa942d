"""python -m helpers.app train ... and python -m helpers.app predict ..."""

import sys

from helpers.app.train import main

sys.exit(main())
