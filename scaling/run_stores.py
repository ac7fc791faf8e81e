"""The token stores that a run reads: their hashes, which are part of its identity, and whether they fit its configuration.

Nothing here imports JAX, so a run is refused before anything of it is written.
"""

from collections.abc import Callable

from scaling.data.store import TokenStore
from scaling.errors import DataError
from scaling.run_config import RunConfig, StoreHashes

OpenStore = Callable[[str], TokenStore]


def hashes_of(config: RunConfig, open_store: OpenStore = TokenStore.open) -> StoreHashes:
    """The content hashes of a run's stores.

    Args:
      config: the run.
      open_store: opens a path; a sweep gives one that opens each store once.

    Raises:
      DataError: a store is missing or altered.
    """
    held_out = tuple(open_store(domain.store).store_hash for domain in config.evaluation.domains)
    return StoreHashes(open_store(config.data.store).store_hash, held_out)


def check(config: RunConfig, open_store: OpenStore = TokenStore.open) -> None:
    """Refuses a run whose stores do not fit its model, its sequences or each other.

    Args:
      config, open_store: as for :func:`hashes_of`.

    Raises:
      DataError: naming the store and the field.
    """
    store = open_store(config.data.store)
    if store.vocab_size != config.model.vocab_size:
        raise DataError(
            f"TransformerConfig.vocab_size is {config.model.vocab_size}, but the vocabulary of {config.data.store} has "
            f"{store.vocab_size} ids",
            f"set vocab_size to {store.vocab_size}",
        )
    store.split(config.data.split).num_windows(config.data.sequence_length)
    for domain in config.evaluation.domains:
        other = open_store(domain.store)
        store.require_vocabulary_of(other)
        other.split(domain.split)


def require_frozen(frozen: StoreHashes, config: RunConfig, open_store: OpenStore = TokenStore.open) -> None:
    """Refuses stores that hold other data than those with which a run was named.

    Args:
      frozen: the hashes of the run's `spec.json`.
      config, open_store: as for :func:`hashes_of`.

    Raises:
      DataError: naming the store.
    """
    present = hashes_of(config, open_store)
    paths = (config.data.store, *(domain.store for domain in config.evaluation.domains))
    pairs = zip((frozen.train, *frozen.held_out), (present.train, *present.held_out), strict=True)
    for path, (expected, actual) in zip(paths, pairs, strict=True):
        if actual != expected:
            raise DataError(
                f"the token store {path} holds other data than this run was frozen with ({actual[:12]} instead of {expected[:12]})",
                "restore that store, or start a new run on this one",
            )
