"""Several finite texts as one: shares of bytes, every document at most once."""

from collections.abc import Iterator, Sequence

from scaling.data.store_writer import Document


def merged(streams: Sequence[Iterator[Document]], shares: Sequence[float]) -> Iterator[tuple[int, Document]]:
    """Interleaves documents so that bytes follow `shares`, until the source whose turn it is has run out.

    The next document always comes from the source that is furthest behind its share (the first of equals), so shares
    hold to within one document at every point, no source is read twice, and nothing has to be known about the sizes in
    advance. What the other sources still hold is left unused: repeating the smaller ones instead would make several
    epochs of them, which a study of data size must not do silently. One source alone is passed through.

    Args:
      streams: the sources.
      shares: positive, not necessarily normalised.

    Yields:
      The number of the source and the document.
    """
    taken = [0] * len(streams)
    while True:
        source = min(range(len(streams)), key=lambda i: (taken[i] / shares[i], i))
        document = next(streams[source], None)
        if document is None:
            return
        taken[source] += max(1, len(document.text))
        yield source, document


def limited(
    documents: Iterator[tuple[int, Document]], max_tokens: int, max_documents: int
) -> Iterator[tuple[int, Document]]:
    """Ends with the document that reaches a limit; 0 is no limit."""
    tokens = 0
    for number, (source, document) in enumerate(documents, start=1):
        yield source, document
        tokens += len(document.ids)
        if (max_tokens and tokens >= max_tokens) or number == max_documents:
            return
