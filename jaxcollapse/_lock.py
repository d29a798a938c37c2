"""Which runs are writing to a store: each holds the lock `runs/ID/lock` for as long as its process lives.

No run takes its lock, and nobody looks at those of others, but under the one lock of the store: else a run that is
about to begin might find its own taken. Correctness does not hang on locks, which a network's file system may not
have: a block that is written twice is written the same. They keep points from being added while blocks are written.
"""

from pathlib import Path

import filelock


def whole(path: Path) -> filelock.BaseFileLock:
    """The lock of the store."""
    return filelock.FileLock(path / "runs" / "lock")


def of(path: Path, run: str) -> filelock.BaseFileLock:
    """The lock of a run, not to be waited for."""
    return filelock.FileLock(path / "runs" / run / "lock", timeout=0)


def held(path: Path) -> set[str]:
    """The runs that hold their locks; those of runs that were killed are removed."""
    return {lock.parent.name for lock in (path / "runs").glob("*/lock") if _is_held(lock)}


def _is_held(lock: Path) -> bool:
    try:
        with filelock.FileLock(lock, timeout=0):
            lock.unlink(missing_ok=True)
            return False
    except filelock.Timeout:
        return True
