"""Greedy completions by the transformers library, for test_transformers.py; runs in an interpreter that has torch and transformers.

    python transformers_samples.py ROOT

reads ROOT/prompts.json (token lists) and, for every model under ROOT/models, writes completions.json beside it.
"""

import json
import pathlib
import sys

import torch
import transformers


def main(root: pathlib.Path) -> None:
    request = json.loads((root / "prompts.json").read_text())
    for path in sorted((root / "models").iterdir()):
        model = transformers.AutoModelForCausalLM.from_pretrained(path).float().eval()
        completions = []
        for prompt in request["prompts"]:
            tokens = torch.tensor([prompt])
            options = {"eos_token_id": request["eos_id"], "pad_token_id": 0, "max_new_tokens": request["new_tokens"]}
            with torch.no_grad():
                row = model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, **options)
            completions.append(row[0, len(prompt) :].tolist())
        (path / "completions.json").write_text(json.dumps(completions))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
