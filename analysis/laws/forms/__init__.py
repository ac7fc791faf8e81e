"""The forms of laws: one small file a form, with its equation, its citation and what a paper prints of it."""
