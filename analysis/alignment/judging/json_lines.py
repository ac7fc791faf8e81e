"""Files of JSON objects, one a line, each with the place where it stands for those who must say what is wrong with it."""

import json
from typing import Any

from etils import epath

from analysis.laws.errors import TableError


def read(path: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place in words; empty lines are passed over.

    Raises:
      TableError: the file cannot be read, has no line, or a line is no JSON object.
    """
    try:
        texts = epath.Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read ({error})", "name a file of JSON lines") from error
    found = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise TableError(f"{where}: not JSON", "mend the line, or have the file written again") from error
        if not isinstance(line, dict):
            raise TableError(f"{where}: not a JSON object", "mend the line, or have the file written again")
        found.append((where, line))
    if not found:
        raise TableError(f"{path} has no line", "have it written again")
    return found
