"""The one error that a reader of tables can cause; the verbs turn it into a line and exit code 2."""


class TableError(ValueError):
    """A runs table that cannot be read or cannot support a fit.

    Args:
      what: what is wrong, naming the file, the column and the rows.
      remedy: what to do about it, an imperative without a final period.
    """

    def __init__(self, what: str, remedy: str):
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """One line."""
        return f"{self.what}. Remedy: {self.remedy}."
