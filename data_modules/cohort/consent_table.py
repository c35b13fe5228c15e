"""Reading ``consent.csv`` and appending withdrawals to it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data_modules.tables import Table, append_rows
from fer_id.cohort_tables import CONSENT_COLUMNS


@dataclass(frozen=True)
class ConsentTable:
    """Contents of ``consent.csv``.

    Attributes:
        path: the file.
        rows: cells by column, one dict per record.
    """

    path: Path
    rows: list[dict[str, str]]

    @property
    def names(self) -> set[str]:
        """Names of all subjects with a record."""
        return {_name(row["subject_id"]) for row in self.rows}

    def withdraw(self, name: str, today: date) -> None:
        """Append a withdrawal of today, unless the subject has a record of today (the list of withdrawals counts)."""
        rows = [row for row in self.rows if row["recorded_on"].strip() == today.isoformat()]
        if any(_name(row["subject_id"]) == name for row in rows):
            return
        new = {"subject_id": name, "recorded_on": today.isoformat(), "status": "withdrawn"}
        append_rows(self.path, CONSENT_COLUMNS, [new])


def consent_table(cohort: Path) -> ConsentTable:
    """Read ``consent.csv`` of a cohort folder.

    Raises:
        DataError: missing, not a table, or with other columns.
    """
    path = cohort / "consent.csv"
    return ConsentTable(path, [row for _, row in Table(path, CONSENT_COLUMNS).rows()])


def _name(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.strip())
