"""python -m helpers.app draw | inspect | train | predict | report | export"""

import sys

from helpers.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
