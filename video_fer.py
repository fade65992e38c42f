#!/usr/bin/env python3
"""Label videos; see --help. The work is done in fer_lib, as `python -m fer_lib video` does it."""

import sys

if __name__ == "__main__":
    try:
        from fer_lib.cli import main

        sys.exit(main(["video", *sys.argv[1:]], script="video_fer.py"))
    except KeyboardInterrupt:  # before main() could take care of it
        print("error: interrupted; nothing was done", file=sys.stderr)
        sys.exit(130)
