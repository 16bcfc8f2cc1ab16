"""Files of checkpoints brought to this machine, each verified against its manifest."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from app.core.db import transaction
from app.core.models import Checkpoint
from app.core.storage import Store

WHOLE = "merged"


class CorruptCheckpoint(Exception):
    """The stored bytes are not those of the manifest; the checkpoint is marked and never served."""


class CheckpointGone(Exception):
    """A checkpoint that the job needs is not there, or holds no whole model."""


def fetch_file(store: Store, checkpoint_id: str, folder: Path, entry: dict[str, Any]) -> None:
    """Copy one file of a manifest into a folder.

    Raises:
        CorruptCheckpoint: the bytes are others.
    """
    target = folder / entry["name"]
    target.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with target.open("wb") as file:
        for piece in store.read(f"{checkpoint_id}/{entry['name']}"):
            total.update(piece)
            file.write(piece)
    if total.hexdigest() != entry["sha256"]:
        raise CorruptCheckpoint(f"{entry['name']} of {checkpoint_id} is not what was stored")


def fetch_whole_model(engine: Engine, store: Store, cache: Path, checkpoint_id: str) -> Path:
    """Return a folder with the checkpoint's whole model, kept under its manifest's digest.

    Raises:
        CheckpointGone: there is none.
        CorruptCheckpoint: its bytes are not those of the manifest.
    """
    with transaction(engine) as session:
        row = session.get(Checkpoint, checkpoint_id)
        if row is None or row.state != "ready":
            raise CheckpointGone(f"there is no checkpoint {checkpoint_id} any more")
        manifest, digest = row.manifest, row.manifest_sha256
    files = [entry for entry in manifest["files"] if entry.get("form") == WHOLE]
    if not files:
        raise CheckpointGone(f"{checkpoint_id} holds no whole model; its job's final one does")
    folder = cache / digest
    if not folder.is_dir():
        _fetch_all(store, checkpoint_id, files, folder)
    return folder / WHOLE


def _fetch_all(store: Store, checkpoint_id: str, files: list[dict[str, Any]], folder: Path) -> None:
    """Make the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for entry in files:
            fetch_file(store, checkpoint_id, draft, entry)
        draft.rename(folder)
    except OSError:
        # another process fetched the same first
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
