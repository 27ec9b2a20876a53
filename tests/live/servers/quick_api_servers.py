"""`twowire`, but an API server is replaced however soon it dies: tests need not wait until it is a minute old."""

import sys

from app.cli import main
from app.server import workers

if __name__ == "__main__":
    workers.HEALTHY_AFTER_S = 0.0
    sys.exit(main())
