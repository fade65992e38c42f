#!/usr/bin/env python3
"""Label photos; see --help. The work is done in fer_lib, as `python -m fer_lib photo` does it."""

import sys

from fer_lib.cli import main

if __name__ == "__main__":
    sys.exit(main(["photo", *sys.argv[1:]], script="foto_fer.py"))
