"""The data side: corpora, vocabularies, token stores and batches."""
