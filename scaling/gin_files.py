"""Gin at the edge: from files and bindings to a tree of frozen dataclasses.

Library code never imports gin. A verb calls :func:`load` once, receives plain dataclasses and passes them on. The shipped
files use gin's dynamic registration, so that a file names the module it configures and no module needs a decorator.
"""

import ast
import contextlib
import dataclasses
import pathlib
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import dacite
import gin

from scaling.errors import BadInputError, ConfigError

PROJECT_ROOT = pathlib.Path(__file__).resolve().parent.parent

ConfigT = TypeVar("ConfigT")

_BIND = "bind the named value, in a file or by --gin.NAME=value"


@dataclasses.dataclass(frozen=True)
class Loaded(Generic[ConfigT]):
    """A configuration read from Gin.

    Attributes:
      config: the instance that was asked for.
      bindings: every binding, in Gin syntax (`config.gin` of a run).
      operative: the bindings that were used, defaults included (`operative.gin`).
    """

    config: ConfigT
    bindings: str
    operative: str


def load(root: type[ConfigT], gin_files: Sequence[str], bindings: Sequence[str] = ()) -> Loaded[ConfigT]:
    """Parses files and bindings, then builds `root` from them.

    Args:
      root: the dataclass to build; the files bind its fields and those of its parts.
      gin_files: paths, relative to the working directory or to the project; later files override earlier ones.
      bindings: `NAME = value` lines that override the files.

    Raises:
      ConfigError: a file is missing, a name is unknown, a required value is unbound, or a value has the wrong type.
    """
    parse(root, gin_files, bindings)
    return build(root)


def parse(root: type, gin_files: Sequence[str], bindings: Sequence[str] = ()) -> None:
    """Replaces gin's state by that of the files and bindings; see :func:`load` for arguments and errors."""
    gin.clear_config()
    _register_parts(root)
    found = [_found(path) for path in gin_files]
    gin.add_config_file_search_path(str(pathlib.Path.cwd()))
    # Files include each other by paths from the project's root, wherever the verb was started.
    with contextlib.chdir(PROJECT_ROOT), _gin_errors_as_config_errors(", ".join(gin_files)):
        gin.parse_config_files_and_bindings(found, None, finalize_config=False)
    for binding in bindings:
        with _gin_errors_as_config_errors(f"the binding {binding!r}"):
            gin.parse_config(quoted_if_bare(binding))
    _refuse_unused_macros()


def build(root: type[ConfigT]) -> Loaded[ConfigT]:
    """Builds `root` from gin's present state; see :func:`load`."""
    return Loaded(build_config(root), gin.config_str(), gin.operative_config_str())


def build_config(root: type[ConfigT]) -> ConfigT:
    """The same without the texts, which take longer than the rest."""
    try:
        with _gin_errors_as_config_errors(root.__name__):
            config = gin.get_configurable(root)()
        return checked(config)
    except ConfigError as error:
        _name_what_is_required(error)
        raise


def _register_parts(root: type) -> None:
    """Makes a dataclass and those of its fields known, so that a binding may name one that no file mentions."""
    gin.external_configurable(root, module=root.__module__)
    for declared in typing.get_type_hints(root).values():
        for part in (declared, *typing.get_args(declared)):
            if dataclasses.is_dataclass(part):
                _register_parts(part)


def _found(path: str) -> str:
    for folder in (pathlib.Path.cwd(), PROJECT_ROOT):
        if (folder / path).is_file():
            return str(folder / path)
    raise ConfigError(f"the Gin file {path!r} does not exist", "check --gin_file; configs/ lists the shipped ones")


@contextlib.contextmanager
def overridden(bindings: Mapping[str, Any]) -> Iterator[None]:
    """Binds values inside the block and restores gin's state after it (a sweep builds one config a point so).

    Args:
      bindings: from a Gin name (`TransformerConfig.width`, or a macro's name) to a Python value.
    """
    # Not as text: writing it out and parsing it again is most of what planning ten thousand runs would cost.
    bound = {place: dict(values) for place, values in gin.config._CONFIG.items()}
    imports = set(gin.config._IMPORTS)
    try:
        for name, value in bindings.items():
            with _gin_errors_as_config_errors(f"the binding {name!r}"):
                gin.parse_config(f"{name} = {value!r}")
        yield
    finally:
        gin.clear_config()
        gin.config._CONFIG.update(bound)
        gin.config._IMPORTS.update(imports)


def checked(config: ConfigT) -> ConfigT:
    """Returns `config`, integers given for floats converted, when every field of the tree has its declared type.

    Raises:
      ConfigError: naming the field, the declared type and the value.
    """
    return from_dict(type(config), to_dict(config))


def to_dict(config: Any) -> dict[str, Any]:
    """The tree of dataclasses as nested dicts of JSON values."""
    return dataclasses.asdict(config)


def from_dict(root: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The inverse of :func:`to_dict`; refuses unknown fields and wrong types with a ConfigError."""
    try:
        return dacite.from_dict(root, values, dacite.Config(cast=[tuple], type_hooks={float: _as_float}, strict=True))
    except dacite.WrongTypeError as error:
        raise ConfigError(
            f"{root.__name__}.{error.field_path} is {error.value!r}, not {_spelt_type(error.field_type)}",
            "give the field a value of the declared type",
        ) from error
    except dacite.DaciteError as error:
        raise ConfigError(f"{root.__name__}: {error}", "correct the spelling of the field") from error


def _spelt_type(declared: Any) -> str:
    if typing.get_origin(declared) is typing.Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(declared))
    return getattr(declared, "__name__", str(declared))


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def quoted_if_bare(binding: str) -> str:
    """Quotes the value of `NAME=value` where it is a bare word or path, so that shells need no nested quotes."""
    name, equals, value = binding.partition("=")
    if not equals:
        raise ConfigError(f"the binding {binding!r} has no '='", "write --gin.NAME=value")
    value = value.strip()
    if not value.startswith(("@", "%")):
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError):
            if "@" not in value and "%" not in value:
                value = repr(value)
    return f"{name.strip()} = {value}"


# Arithmetic errors come from functions that files bind, such as a rule for the learning rate of width 0.
_GIN_ERRORS = (
    *(ValueError, TypeError, RuntimeError, SyntaxError, OSError, ImportError, AttributeError, NameError),
    ArithmeticError,
)


@contextlib.contextmanager
def _gin_errors_as_config_errors(where: str) -> Iterator[None]:
    """Gin reports bad input through many exception types; each becomes one line that names its place."""
    try:
        yield
    except BadInputError as error:
        # Gin appends its own lines to whatever passes through it.
        raise ConfigError(error.what, error.remedy) from error
    except _GIN_ERRORS as error:
        raise ConfigError(f"{where}: {_one_line(error)}", _remedy(str(error))) from error


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    undefined = re.search(r"macro\(\) missing 1 required positional argument.*scope '([^']+)'", str(error), re.S)
    if undefined:
        return f"the macro %{undefined.group(1)} is used but not defined"
    text = " ".join(lines)
    missing = re.search(r"(\w+)(?:\.__init__)?\(\) missing .* for arguments: \[(.*?)\]", text)
    if missing:
        fields = re.findall(r"\w+", missing.group(2))
        return ", ".join(f"{missing.group(1)}.{field}" for field in fields) + " has no value"
    return text if len(text) <= 400 else text[:400] + " ..."


def _remedy(message: str) -> str:
    # Before what is missing in general: a macro without a value is a function without its argument to gin.
    if "macro" in message:
        return "define the macro, in a file or by --gin.NAME=value"
    if "Required bindings" in message or "No values supplied by Gin" in message:
        return _BIND
    return "correct the spelling or the value; the comments at the top of the file say what it expects"


def _name_what_is_required(error: ConfigError) -> None:
    """Raises a clearer error where a %gin.REQUIRED is the cause: gin hands it on as a bare object, on which something then fails."""
    unbound = re.search(r"^(\S+) = (?:\\\n\s*)?%(?:gin\.)?REQUIRED$", gin.config_str(), re.M)
    if unbound and re.search(r"'object'|<object object", error.what):
        raise ConfigError(f"{unbound.group(1)} is required and has no value", _BIND) from error


def _refuse_unused_macros() -> None:
    """A macro that nothing refers to is a misspelt name: gin itself would ignore it in silence."""
    text = gin.config_str()
    defined = set(re.findall(r"^([A-Za-z_][A-Za-z0-9_]*) =", text, re.M))
    used = set(re.findall(r"%(?:[\w./]*/)?([A-Za-z_][A-Za-z0-9_]*)", text))
    for name in sorted(defined - used):
        raise ConfigError(
            f"the macro {name} is defined but nothing uses it",
            f"check its spelling; the macros in use are {sorted(used)}",
        )


def command_line_bindings(argv: Sequence[str]) -> list[str]:
    """Rewrites `--gin.NAME=value` (which absl cannot parse) to `--gin_bindings=NAME=value`."""
    return [re.sub(r"^--?gin\.(?=[\w./]+=)", "--gin_bindings=", word) for word in argv]


def command_line() -> str:
    """The command of this process, for the records."""
    return " ".join(["python", "-m", _module_name(), *sys.argv[1:]])


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]
