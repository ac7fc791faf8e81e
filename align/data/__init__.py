"""Dialogues, preferences and prompts: from texts to stores of tokenised examples, and from stores to batches."""
