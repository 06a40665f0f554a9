"""The checkpoints of a run: they stand in its directory, and the newest is found from there.

checkpoints/step-00000100/   one checkpoint (see `fourm_runtime.checkpoints.store`)
checkpoints/latest           a text file that names the newest
"""

import re
from pathlib import Path

from fourm_runtime.checkpoints.files import read_text, remove, write_text
from fourm_schema.errors import CheckpointError

CONFIG = "config.json"
"""The file that makes a directory a checkpoint."""

CHECKPOINTS, LATEST = "checkpoints", "latest"

_STEP_NAME = re.compile(r"step-\d{8,}")


def step_directory(run: Path, step: int) -> Path:
    """Where a run keeps the checkpoint that it wrote after `step` steps."""
    return run / CHECKPOINTS / f"step-{step:08d}"


def publish(run: Path, step: int, keep: int) -> None:
    """Name a checkpoint as the run's latest, then remove all but the `keep` newest."""
    write_text(run / CHECKPOINTS / LATEST, step_directory(run, step).name + "\n")
    for old in _steps(run)[:-keep]:
        remove(old)


def find_checkpoint(path: Path | str) -> Path:
    """Find a checkpoint's directory.

    Args:
        path: the checkpoint itself, or a run, which means the checkpoint that its `latest` names, or the
            newest one if that file is not there or names none.

    Raises:
        CheckpointError: if there is none.
    """
    place = Path(path)
    if (place / CONFIG).exists():
        return place
    known = _steps(place)
    if not known:
        mend = "give the directory of a checkpoint, or of a run that has written one"
        raise CheckpointError(str(place), "is no checkpoint: it has no config.json", mend=mend)
    pointer = place / CHECKPOINTS / LATEST
    named = read_text(pointer).strip() if pointer.exists() else ""
    return next((step for step in known if step.name == named), known[-1])


def has_checkpoint(run: Path) -> bool:
    """Whether a run has written a checkpoint yet."""
    return bool(_steps(run))


def _steps(run: Path) -> list[Path]:
    folder = run / CHECKPOINTS
    found = (
        [entry for entry in folder.iterdir() if _STEP_NAME.fullmatch(entry.name)] if folder.is_dir() else []
    )
    return sorted(found, key=lambda entry: int(entry.name.removeprefix("step-")))
