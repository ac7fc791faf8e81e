"""Preference losses by name: `options` says what there is, `config` chooses, `evaluate` computes."""
