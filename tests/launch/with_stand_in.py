"""``pilotfish run`` with the stand-in beside the model: ``python with_stand_in.py [options] -- CMD``."""

import os
import sys

from pilotfish_agent.launch.launcher import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], [sys.executable, os.path.join(os.path.dirname(__file__), "stand_in.py")]))
