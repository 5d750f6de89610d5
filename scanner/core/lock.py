"""One writer a run: two scans of one run must not mix.

On a local disk the lock is ``flock``, which the kernel drops with the process, however it ends. Elsewhere it is a lease: an
object made by a PUT on the condition that it is not there (``If-None-Match: *``, where the store keeps conditions), and renewed
while the work goes on. The lease of a process of this machine ends with it; another one that was not renewed for
``LEASE_S``, by the clocks of the two machines, belongs to a dead process and is taken over.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from scanner.core.errors import LockedError
from scanner.core.store import Store

LOCK_FILE = ".lock"
LEASE_S = 120.0
RENEW_S = 30.0
SETTLE_S = 1.0
"""After a dead lease was taken over, until it is looked whether another process did so too."""

log = logging.getLogger("scanner.store")


@contextmanager
def lock(store: Store) -> Iterator[None]:
    """Holds the run for writing.

    Raises:
        LockedError: another process holds it; says which.
    """
    with _flock(store) if store.is_local else _lease(store):
        yield


def _holder() -> bytes:
    pid = os.getpid()
    who = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": _start_of(pid)}
    return json.dumps({**who, "at": time.time(), "id": uuid.uuid4().hex}).encode()


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
    mine = _holder()
    _take(store, mine)
    lease = _Lease(store, mine)
    lease.start()
    try:
        yield
    except BaseException:
        lease.stop()
        raise
    if not lease.stop():
        raise LockedError(
            f"{store.url} was taken over by another process while this one could not renew its lock.",
            next_step="Run the same command again, once: it keeps what is finished and makes the tables agree.",
        )


def _take(store: Store, mine: bytes) -> None:
    """Makes the lock ours. Raises LockedError where another process holds it, or was faster."""
    # Looked at first, as some servers and drivers take a condition and do not keep it.
    held = store.get(LOCK_FILE)
    if held is None:
        try:
            store.fs.pipe_file(store.path(LOCK_FILE), mine, mode="create")
            return
        except FileExistsError:
            held = store.get(LOCK_FILE) or b"{}"
    if _identity(held) == _identity(mine):
        return  # written by a try whose answer was lost
    if not _is_dead(held):
        raise _refuse(store, held)
    store.put(mine, LOCK_FILE)
    # Two that find the same dead lease both write; the last one holds it, and the other sees so once both have written.
    time.sleep(SETTLE_S)
    if _identity(held := store.get(LOCK_FILE) or b"{}") != _identity(mine):
        raise _refuse(store, held)


def _is_dead(held: bytes) -> bool:
    """Whether the process that holds a lease has ended: for certain, where it ran on this machine, else by what it last wrote."""
    try:
        document = json.loads(held)
        if document.get("machine") == _machine() and _machine():
            return _start_of(int(document["pid"])) != str(document.get("started"))
        return time.time() - float(document.get("at", 0)) >= LEASE_S
    except (ValueError, KeyError, TypeError, AttributeError):
        return True


def _identity(held: bytes) -> str:
    try:
        return str(json.loads(held).get("id"))
    except (ValueError, AttributeError):
        return ""


@cache
def _machine() -> str:
    """This boot of this machine and the namespace of its process ids; empty where there is no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When a process began, which tells it from a later one of its number; empty where it has ended, or nothing tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


class _Lease:
    """Renews a lease in a thread of its own until it is stopped, or finds that another process holds it."""

    def __init__(self, store: Store, mine: bytes) -> None:
        self._store, self._mine = store, json.loads(mine)
        self._is_lost = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Gives the lock back; whether it was held to the end."""
        self._stopped.set()
        self._thread.join()
        # A store that does not answer now must not hide what ended the work; the lease ends by itself.
        with suppress(OSError):
            self._look()
            if not self._is_lost:
                self._store.fs.rm_file(self._store.path(LOCK_FILE))
        return not self._is_lost

    def _renew(self) -> None:
        while not self._is_lost and not self._stopped.wait(RENEW_S):
            try:
                self._look()
                if not self._is_lost:
                    self._store.put(json.dumps({**self._mine, "at": time.time()}).encode(), LOCK_FILE)
            except Exception as error:
                log.warning("the lock of %s was not renewed: %s", self._store.url, error)

    def _look(self) -> None:
        held = self._store.get(LOCK_FILE)
        self._is_lost = held is not None and _identity(held) != self._mine["id"]
