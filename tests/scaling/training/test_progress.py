"""The progress line says what it knows and nothing else."""

import io

import pytest

from scaling.training.progress import ProgressLine, duration, si


def line(loss: float, tokens_per_second: float, mfu: float | None) -> str:
    stream = io.StringIO()
    ProgressLine("base", 4_000, stream, every_seconds=0.0).show(1_000, loss, tokens_per_second, mfu, "6nd")
    return stream.getvalue()


def test_a_line_with_everything():
    assert (
        line(3.0, 100.0, 0.25)
        == "base |  25% of 4k tokens | loss 3.000 nats | 100 tokens/s | MFU 25.0% (6nd) | 30s left\n"
    )


def test_what_is_not_known_yet_is_not_shown():
    assert line(float("nan"), 0.0, None) == "base |  25% of 4k tokens | 0 tokens/s | ? left\n"


@pytest.mark.parametrize(("seconds", "text"), [(59.4, "59s"), (185, "3m05s"), (7_620, "2h07m"), (float("nan"), "?")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (999.9, "1k"), (14_928, "14.9k"), (999_936, "1M"), (4.15e6, "4.15M"), (2e12, "2T")],
)
def test_counts_have_three_digits_and_no_exponent(count, text):
    assert si(count) == text
