"""Files of checkpoints brought to this machine, each verified against its manifest."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine

from app.core.checkpoints import mark_corrupt
from app.core.db import transaction
from app.core.errors import Unavailable
from app.core.models import Checkpoint
from app.core.storage import Store

Form = Literal["adapter", "merged"]


class CorruptCheckpoint(Exception):
    """The stored bytes are not those of the manifest; the checkpoint is marked and never served."""


class CheckpointGone(Exception):
    """A checkpoint that the job needs is not there, or lacks the form that is needed."""


def fetch_file(store: Store, checkpoint_id: str, folder: Path, entry: dict[str, Any]) -> None:
    """Copy one file of a manifest into a folder.

    Raises:
        CorruptCheckpoint: the bytes are others, or not there.
    """
    target = folder / entry["name"]
    target.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    try:
        with target.open("wb") as file:
            for piece in store.read(f"{checkpoint_id}/{entry['name']}"):
                total.update(piece)
                file.write(piece)
    except Unavailable as gone:
        raise CorruptCheckpoint(gone.detail) from gone
    if total.hexdigest() != entry["sha256"]:
        raise CorruptCheckpoint(f"{entry['name']} of {checkpoint_id} is not what was stored")


def fetch_model(
    engine: Engine, store: Store, cache: Path, checkpoint_id: str, form: Form = "merged"
) -> Path:
    """Return a folder with the checkpoint's weights in a form, kept under its manifest's digest.

    Raises:
        CheckpointGone: there are none.
        CorruptCheckpoint: its bytes are not those of the manifest; it is marked.
    """
    with transaction(engine) as session:
        row = session.get(Checkpoint, checkpoint_id)
        if row is None or row.state != "ready":
            raise CheckpointGone(f"there is no whole checkpoint {checkpoint_id} any more")
        manifest, digest = row.manifest, row.manifest_sha256
    files = [entry for entry in manifest["files"] if entry.get("form") == form]
    if not files:
        raise CheckpointGone(f"{checkpoint_id} has no files of the form {form!r}")
    folder = cache / digest / form
    if not folder.is_dir():
        with marking_corrupt(engine, checkpoint_id):
            _fetch_all(store, checkpoint_id, files, folder)
    return folder


@contextmanager
def marking_corrupt(engine: Engine, checkpoint_id: str) -> Iterator[None]:
    """Mark the checkpoint that is found to be corrupt meanwhile, so that nobody takes it again."""
    try:
        yield
    except CorruptCheckpoint:
        with transaction(engine) as session:
            mark_corrupt(session, checkpoint_id)
        raise


def _fetch_all(store: Store, checkpoint_id: str, files: list[dict[str, Any]], folder: Path) -> None:
    """Make the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for entry in files:
            fetch_file(store, checkpoint_id, draft, entry)
        (draft / folder.name).rename(folder)
    except OSError:
        # another process fetched the same first
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
