"""One writer a run: two scans of one run must not mix.

On a local disk the lock is ``flock``, which the kernel drops with the process, however it ends. Elsewhere it is a lease: a file
made exclusively and renewed while the work goes on; a lease that was not renewed for ``LEASE_S`` belongs to a dead process and
is taken over.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanner.core.errors import LockedError
from scanner.core.store import Store

LOCK_FILE = ".lock"
LEASE_S = 120.0
RENEW_S = 30.0


@contextmanager
def lock(store: Store) -> Iterator[None]:
    """Holds the run for writing.

    Raises:
        LockedError: another process holds it; says which.
    """
    with _flock(store) if store.is_local else _lease(store):
        yield


def _holder() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "at": time.time(), "id": uuid.uuid4().hex}).encode()


def _refuse(store: Store, holder: bytes) -> LockedError:
    try:
        who = json.loads(holder)
        found = f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError):
        found = "another process"
    return LockedError(
        f"{store.url} is being written by {found}.", next_step="Wait for it, or stop it; then run the same command again."
    )


@contextmanager
def _flock(store: Store) -> Iterator[None]:
    os.makedirs(store.root, exist_ok=True)
    with Path(store.path(LOCK_FILE)).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refuse(store, file.read()) from None
        file.truncate(0)
        file.write(_holder())
        file.flush()
        yield


@contextmanager
def _lease(store: Store) -> Iterator[None]:
    path, mine = store.path(LOCK_FILE), _holder()
    try:
        store.fs.pipe_file(path, mine, mode="create")
    except FileExistsError:
        held = store.get(LOCK_FILE) or b"{}"
        try:
            age = time.time() - float(json.loads(held).get("at", 0))
        except ValueError:
            age = LEASE_S
        if age < LEASE_S:
            raise _refuse(store, held) from None
        store.put(mine, LOCK_FILE)
        # Two that find the same dead lease both write; the last one holds it, the other sees so here.
        if store.get(LOCK_FILE) != mine:
            raise _refuse(store, store.get(LOCK_FILE) or b"{}") from None
    identity = json.loads(mine)
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(RENEW_S):
            store.put(json.dumps({**identity, "at": time.time()}).encode(), LOCK_FILE)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        store.fs.rm_file(path)
