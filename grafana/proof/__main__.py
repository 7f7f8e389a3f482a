"""``python -m grafana.proof``."""

import sys

from grafana.proof.check import main

sys.exit(main())
