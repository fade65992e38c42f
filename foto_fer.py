#!/usr/bin/env python3
"""Label photos; see --help. The work is done in fer_lib, as `python -m fer_lib photo` does it."""

import sys

if __name__ == "__main__":
    try:
        from fer_lib.cli import main

        sys.exit(main(["photo", *sys.argv[1:]], script="foto_fer.py"))
    except KeyboardInterrupt:  # before main() could take care of it
        print("error: interrupted; nothing was done", file=sys.stderr)
        sys.exit(130)
