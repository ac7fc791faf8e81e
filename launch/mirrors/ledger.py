"""How far each run has been exported, for destinations that cannot tell: an SQLite file beside what was written."""

import dataclasses
import os
import sqlite3

from launch.mirrors.mirror import Exported
from scaling.errors import OutputError

FILE = "exported.sqlite"
_COLUMNS = tuple(field.name for field in dataclasses.fields(Exported))


class Ledger:
    """One row a run, committed one at a time."""

    def __init__(self, folder: str):
        """Opens the ledger of a destination.

        Raises:
          OutputError: it cannot be written, or is no ledger.
        """
        path = os.path.join(folder, FILE)
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS exported (run_id PRIMARY KEY, {', '.join(_COLUMNS)}) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"the ledger {path} cannot be opened ({error})", "delete what was exported there and export again"
            ) from error

    def read(self) -> dict[str, Exported]:
        """Everything, by run id."""
        rows = self._database.execute(f"SELECT run_id, {', '.join(_COLUMNS)} FROM exported")
        return {run_id: Exported(*values) for run_id, *values in rows}

    def note(self, run_id: str, exported: Exported) -> None:
        """Remembers how far a run came."""
        values = dataclasses.astuple(exported)
        self._database.execute(
            f"INSERT OR REPLACE INTO exported VALUES ({', '.join('?' * (1 + len(values)))})", (run_id, *values)
        )

    def close(self) -> None:
        """Closes the file."""
        self._database.close()
