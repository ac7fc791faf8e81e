"""Writes every golden experiment file anew, after an intended change: `python -m tests.golden`. Read the difference before committing it."""

import json

from tests.golden import config_texts, model_tables

for name in model_tables.NAMES:
    model_tables.path_of(name).write_text(json.dumps(model_tables.table(name), indent=1) + "\n")
for name in config_texts.NAMES:
    config_texts.path_of(name).parent.mkdir(parents=True, exist_ok=True)
    config_texts.path_of(name).write_text(config_texts.text(name))
print(f"wrote {len(model_tables.NAMES)} model tables and {len(config_texts.NAMES)} configuration texts")
