"""What the shipped configurations of the sky engine would submit: `python -m tests.launch.sky_submissions` writes the golden files anew."""

import pathlib
from collections.abc import Mapping

from launch.engines.engine import Job, Submission
from launch.engines.sky.engine import SkyEngine
from scaling import gin_files

FOLDER = pathlib.Path(__file__).resolve().parent / "sky"
ROOT = "gs://laboratory/runs"
SWEEP_ID = "isoflop_ladder-0a1b2c3d"
NAMES = sorted(path.stem for path in (gin_files.PROJECT_ROOT / "configs" / "engines").glob("sky_*.gin"))

JOBS = (
    Job("llama-512x8.00", ("0123456789abcdef", "123456789abcdef0"), seconds=7200.0, flops=4e17, memory_bytes=3e9),
    Job("llama-256x6.00", ("23456789abcdef01",), seconds=3600.0, flops=1e17, memory_bytes=1e9),
    Job("llama-128x4.00", ("3456789abcdef012",), seconds=1800.0, flops=3e16, memory_bytes=5e8),
)


def engine(name: str) -> SkyEngine:
    """The engine of a shipped configuration, with a bucket for its stores."""
    bindings = ["SkyEngine.stores=gs://laboratory/stores"]
    return gin_files.load(SkyEngine, [f"configs/engines/{name}.gin"], bindings).config


def submission(name: str) -> Submission:
    """What it would do with :data:`JOBS`."""
    return engine(name).plan(JOBS, SWEEP_ID, ROOT)


def files(name: str) -> Mapping[str, str]:
    """Golden files of a configuration: the task files by their names, and the commands with the cost."""
    planned = submission(name)
    commands = [" ".join(command) for command in planned.commands]
    cost = "not known" if planned.cost is None else f"${planned.cost:.2f}"
    summary = "\n".join([*commands, f"# {planned.seconds:.0f} s, cost {cost}"]) + "\n"
    return {pathlib.PurePath(path).name: text for path, text in planned.files.items()} | {"commands.txt": summary}


def main() -> None:
    """Writes them."""
    for name in NAMES:
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        for file, text in files(name).items():
            (FOLDER / name / file).write_text(text)
    print(f"wrote {len(NAMES)} submissions")


if __name__ == "__main__":
    main()
