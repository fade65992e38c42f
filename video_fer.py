#!/usr/bin/env python3
"""Label videos; see --help. The work is done in fer_lib, as `python -m fer_lib video` does it."""

import sys

from fer_lib.cli import main

if __name__ == "__main__":
    sys.exit(main(["video", *sys.argv[1:]], script="video_fer.py"))
