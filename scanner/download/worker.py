"""Runs img2dataset. This file is given to an interpreter that may have nothing of ours: it imports the standard library only.

    python worker.py SETTINGS.json

It ends, with all it started, when its standard input does: whoever started it may have been killed, and a second one on the same
folder would write into the same files. Exit code 3: there is no img2dataset that can be imported; the last line says why.
"""

import json
import os
import signal
import sys
import threading

NO_IMG2DATASET = 3


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from img2dataset import download
    except Exception as error:  # whatever an old package says when a newer one lies beside it
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(NO_IMG2DATASET)
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        settings = json.load(file)
    download(**settings)


def _end_with_parent() -> None:
    # Not sys.stdin, whose lock an interpreter that ends would wait for.
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


# Its processes are spawned and import this file anew.
if __name__ == "__main__":
    main()
