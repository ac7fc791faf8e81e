"""The stated floor is what the true process scores by the evaluation's own windows, masks and counts."""

import json
import math

import pytest

from scaling.data.known_truth import observer
from scaling.data.known_truth.floor import Floor, of_positions
from scaling.data.known_truth.grammar import Grammar
from scaling.data.known_truth.hidden_markov import HiddenMarkov
from scaling.data.known_truth.markov import MarkovChain
from scaling.data.known_truth.skills import Skills
from scaling.run_config import EvaluationConfig, EvaluationDomain
from scaling.training.evaluation import HeldOutText

SIZES = dict(train_tokens=1000, held_out_tokens=20_000)
PROCESSES = [
    MarkovChain(order=3, alphabet=4, mean_length=20, **SIZES),
    HiddenMarkov(mean_length=30, sample_blocks=2000, **SIZES),
    Grammar(mean_length=20, clauses=4, sample_sentences=1000, **SIZES),
    Skills(names=8, arguments=8, mean_length=40, **SIZES),
]


def score(process, store, length, isolate_documents=True):
    """What the process itself would have in a record for the domain of this store."""
    held_out = HeldOutText(EvaluationDomain("x", str(store.path)), store)
    return held_out.evaluate(
        lambda _, batch: observer.token_nats(process, batch),
        None,
        EvaluationConfig(),
        length,
        isolate_documents,
        lambda: None,
    )


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.kind)
def test_the_true_process_scores_the_floor_in_windows_of_every_length(write_process, process):
    """Within 4 standard errors of the text and of the floor; at short windows this fails for the plateau alone, which forgets what
    windows hide."""
    store = write_process(process)
    for length in (2, 5, 64):
        loss, floor = score(process, store, length), process.floor().at(length)
        error = math.hypot(loss.standard_error, floor.error)
        assert abs(loss.nats_per_token - floor.nats) < 4 * error
        assert error < 0.02
        assert (loss.entropy_nats_per_token, loss.entropy_error) == pytest.approx(floor)
    if process.kind != "hidden_markov":  # One hides less than the error of a text of this size.
        short = score(process, store, 2)
        assert abs(short.nats_per_token - process.floor().plateau) > 8 * short.standard_error


def test_no_entropy_is_claimed_where_documents_are_not_isolated(write_process):
    """First tokens count there, and windows see the document before."""
    process = PROCESSES[0]
    held_out = HeldOutText(EvaluationDomain("x", ""), write_process(process))
    loss = held_out.evaluate(
        lambda _, batch: batch.loss_mask,
        None,
        EvaluationConfig(),
        16,
        isolate_documents=False,
        after_batch=lambda: None,
    )
    assert loss.entropy_nats_per_token is None and loss.entropy_error is None


def test_a_store_without_a_process_has_no_entropy(small_store):
    """Manifests written before there were processes stay readable."""
    assert small_store.entropy(64) is None


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.kind)
def test_documents_depend_on_the_parameters_alone_and_splits_differ(process):
    again = type(process)(**{field: getattr(process, field) for field in process.__dataclass_fields__})
    documents = [tuple(symbols) for symbols in process.documents("validation")]
    assert documents == [tuple(symbols) for symbols in again.documents("validation")]
    assert documents != [tuple(symbols) for symbols in process.documents("test")]
    assert (
        min(map(len, documents)) >= 1
        and 0 <= min(map(min, documents))
        and max(map(max, documents)) < process.alphabet_size
    )
    tokens = sum(len(symbols) + 1 for symbols in documents)
    assert tokens == pytest.approx(process.held_out_tokens, rel=0.15)


def test_a_floor_survives_its_manifest_and_falls_to_the_plateau():
    floor = of_positions([3.0, 2.0, 1.0], plateau=1.0, tolerance=1e-9)
    assert [floor.at(length).nats for length in (1, 2, 3, 6)] == pytest.approx([3.0, 2.5, 2.0, 1.5])
    assert Floor.from_json(json.loads(json.dumps(floor.to_json()))) == floor
    with pytest.raises(ValueError, match="no target"):
        floor.at(0)
