"""Brings weights from Hugging Face directories, and takes them there.

  python -m scaling.convert --from_hugging_face=DIR --to=NEW_DIR
  python -m scaling.convert --from_run=DIR --to_hugging_face=NEW_DIR

An import writes a directory with model.json, source.json and an Orbax checkpoint (:mod:`scaling.foreign.weights`). An
export takes a completed run or an imported model and writes config.json, model.safetensors (float32) and source.json.
Architectures: LlamaForCausalLM (family llama), GPT2LMHeadModel (kaplan_gpt), GPTNeoXForCausalLM (neox). Values are
moved, never rounded: an export that is imported again is equal bit for bit. Vocabularies are not converted.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from scaling import verbs
from scaling.accounting.parameters import count_parameters
from scaling.data.store_writer import atomic_directory
from scaling.errors import ConfigError, OutputError
from scaling.foreign import config_json, hugging_face, weights
from scaling.models.config import TransformerConfig

_FROM_HUGGING_FACE = flags.DEFINE_string("from_hugging_face", None, "A directory with config.json and safetensors.")
_TO = flags.DEFINE_string("to", None, "The directory that the imported model gets; must not exist.")
_FROM_RUN = flags.DEFINE_string("from_run", None, "The directory of a completed run, or of an imported model.")
_TO_HUGGING_FACE = flags.DEFINE_string("to_hugging_face", None, "The Hugging Face directory to write; must not exist.")
_ACCEPT_TANH_GELU = flags.DEFINE_bool(
    "accept_tanh_gelu", False, "Import a model of exact GELU, which ours approximate by tanh: outputs differ."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Check all but the values of the weights, print the outcome, write nothing."
)


def main(argv: Sequence[str]) -> None:
    """Imports or exports, whichever the flags ask for."""
    del argv
    if verbs.gin_file_flags() or verbs.gin_binding_flags():
        raise ConfigError("--gin_file and --gin.NAME mean nothing here", "remove them; the weights say what they are")
    match _FROM_HUGGING_FACE.value, _TO.value, _FROM_RUN.value, _TO_HUGGING_FACE.value:
        case str(source), str(target), None, None:
            _import(pathlib.Path(source), pathlib.Path(target))
        case None, None, str(source), str(target):
            _export(pathlib.Path(source), pathlib.Path(target))
        case _:
            raise ConfigError(
                "give either --from_hugging_face with --to, or --from_run with --to_hugging_face", "see --help"
            )


def _import(source: pathlib.Path, target: pathlib.Path) -> None:
    _require_free(target)
    with hugging_face.opened(source, _ACCEPT_TANH_GELU.value) as model:
        name = model.description.architecture.name
        print(f"{name} ({', '.join(model.types)}) -> {_described(model.config)} | {target}")
        for approximation in model.description.approximations:
            print(f"approximation: {approximation}")
        if _DRY_RUN.value:
            return
        # Imported here, so that --help, --dry_run and most bad input need no JAX.
        from scaling.foreign import checkpointed

        with atomic_directory(target) as partial:
            checkpointed.save(partial, model.weights(), model.source())


def _export(source: pathlib.Path, target: pathlib.Path) -> None:
    _require_free(target)
    model = weights.find(source)
    architecture, _ = config_json.write(model.config)
    print(f"{_described(model.config)} | step {model.step} -> {architecture.name} (F32) | {target}")
    if _DRY_RUN.value:
        return
    from scaling.foreign import checkpointed

    loaded = checkpointed.load(model)
    with atomic_directory(target) as partial:
        hugging_face.write(partial, loaded)
        facts = {"format": "plumbline", "directory": str(source), "run_id": model.run_id, "step": model.step}
        checkpointed.write_source(partial, facts)


def _require_free(target: pathlib.Path) -> None:
    """Before anything is read; the directory itself is made at the end, under a temporary name until it is whole."""
    if target.exists():
        raise OutputError(f"{target} exists already", "delete it or choose another directory")


def _described(config: TransformerConfig) -> str:
    count = count_parameters(config).total
    return f"{config.family} width {config.width} depth {config.depth} | {count:,} parameters"


if __name__ == "__main__":
    verbs.run(main)
