"""The directory that a verb writes its report into."""

from etils import epath

from scaling.errors import OutputError


def make(path: str) -> None:
    """Makes the directory of --output_dir: before the study, so that its work is not lost on a path that cannot be written.

    Raises:
      OutputError: it cannot be made.
    """
    try:
        epath.Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"--output_dir={path} is not a directory", "choose another path") from error
    except OSError as error:
        raise OutputError(
            f"--output_dir={path} cannot be made: {error.strerror}", "choose a path that can be written"
        ) from error
