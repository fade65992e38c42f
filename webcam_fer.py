#!/usr/bin/env python3
"""Label a live camera; see --help. The work is done in fer_lib, as `python -m fer_lib webcam` does it."""

import sys

from fer_lib.cli import main

if __name__ == "__main__":
    sys.exit(main(["webcam", *sys.argv[1:]], script="webcam_fer.py"))
