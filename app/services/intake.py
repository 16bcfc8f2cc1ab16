"""The writer of a dataset's rows and issues: PostgreSQL's COPY, in batches of bounded size."""

import json

from psycopg import sql
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.core.models import Dataset, DatasetRow
from app.services.formats.reading import Source
from app.services.formats.rows import Fault, Reading, Row

BATCH_LINES = 500
BATCH_BYTES = 4 << 20

PLACE = ("workspace_id", "dataset_id")
LABELS = ("row_id", "subset", "split")
CONTENT = ("extra", "messages", "responses", "ranking", "scores")
ROW_COLUMNS = (*PLACE, "position", "line", *LABELS, *CONTENT)
ISSUE_COLUMNS = (*PLACE, "seq", "line", "code", "message", "pointer", "severity", "excerpt")


class Intake:
    """Writes rows and issues in batches that are small in lines and in bytes."""

    def __init__(self, session: Session, dataset: Dataset) -> None:
        self._session, self._dataset = session, dataset
        self._rows: list[tuple[object, ...]] = []
        self._issues: list[tuple[object, ...]] = []
        self._bytes = self._position = self._seq = 0
        self._keeps_rows = True

    def take(self, source: Source) -> None:
        """Store everything; a rejected upload keeps its issues and no row."""
        for reading in source:
            self._add(reading)
            if len(self._rows) + len(self._issues) >= BATCH_LINES or self._bytes >= BATCH_BYTES:
                self._flush()
        self._flush()

    def _add(self, reading: Reading) -> None:
        for fault in reading.faults:
            self._issues.append(self._issue(fault))
        if reading.row is not None and self._keeps_rows:
            self._rows.append(self._row(reading.row))
        elif reading.row is None and self._dataset.on_error == "reject" and self._keeps_rows:
            self._drop_rows()

    def _drop_rows(self) -> None:
        self._keeps_rows = False
        self._rows.clear()
        mine = DatasetRow.dataset_id == self._dataset.id
        self._session.execute(delete(DatasetRow).where(mine))

    def _row(self, row: Row) -> tuple[object, ...]:
        position = self._position
        self._position += 1
        values = [getattr(row, name) for name in CONTENT]
        texts = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        self._bytes += sum(len(text) for text in texts if text)
        place = (self._dataset.workspace_id, self._dataset.id, position, row.line)
        return (*place, row.row_id, row.subset, row.split, *texts)

    def _issue(self, fault: Fault) -> tuple[object, ...]:
        seq = self._seq
        self._seq += 1
        place = (self._dataset.workspace_id, self._dataset.id, seq, fault.line)
        return (*place, fault.code, fault.message, fault.pointer, fault.severity, fault.excerpt)

    def _flush(self) -> None:
        self._copy("dataset_rows", ROW_COLUMNS, self._rows)
        self._copy("dataset_issues", ISSUE_COLUMNS, self._issues)
        self._bytes = 0

    def _copy(self, table: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
        if not rows:
            return
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        driver = self._session.connection().connection.driver_connection
        assert driver is not None
        with driver.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)
        rows.clear()
