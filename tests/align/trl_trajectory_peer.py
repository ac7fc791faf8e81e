"""Trains by TRL's trainers, for test_trl_trajectory.py; runs at the root of the project in an interpreter that has trl 1.16.

    python -m tests.align.trl_trajectory_peer ROOT

reads ROOT/settings.json, the pairs of ROOT/pairs.npz (right-padded rows in the order of training) and the model in ROOT/llama, a Hugging Face directory;
writes ROOT/trained.npz with the loss of every step of both trainers and, after the last one, the implicit rewards and the rewards of all pairs.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from trl import DPOTrainer, RewardTrainer

from tests.align import trl_trainers


def recorded(kind):
    """The trainer, which notes the loss of every step to the last digit."""

    class Recorded(kind):
        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            self.losses.append(loss.item())
            return loss

    Recorded.losses = []
    return Recorded


def pairs_of(root: pathlib.Path):
    read = np.load(root / "pairs.npz")
    sides = {}
    for side in ("chosen", "rejected"):
        rows = zip(read[f"{side}_tokens"], read["prompt_lengths"], read[f"{side}_lengths"], strict=True)
        sides[side] = [(tokens[:prompt], tokens[prompt:length]) for tokens, prompt, length in rows]
    prompts = [prompt for prompt, _ in sides["chosen"]]
    return trl_trainers.dataset(prompts, *([completion for _, completion in sides[side]] for side in sides))


def batches(trainer):
    """All pairs as the trainer's own loop sees them."""
    with torch.no_grad():
        yield from trainer.get_train_dataloader()


def dpo(root: pathlib.Path, pairs, settings) -> dict[str, np.ndarray]:
    model, reference = (transformers.AutoModelForCausalLM.from_pretrained(root / "llama").float() for _ in range(2))
    beta = settings["beta"]
    trainer = trl_trainers.dpo(model, reference, pairs, str(root / "dpo"), recorded(DPOTrainer), **settings)
    trainer.train()
    model.eval()
    rewards = []
    for batch in batches(trainer):
        policy, start = (trainer.compute_ref_log_probs(which, batch) for which in (model, trainer.ref_model))
        rewards.append(torch.stack([beta * (after - before) for after, before in zip(policy, start, strict=True)]))
    return {"dpo_losses": np.array(trainer.losses), "dpo_rewards": torch.cat(rewards, dim=1).numpy()}


def reward(root: pathlib.Path, pairs, settings) -> dict[str, np.ndarray]:
    settings = {name: value for name, value in settings.items() if name != "beta"}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        root / "llama", num_labels=1, pad_token_id=trl_trainers.PAD_ID
    ).float()
    with torch.no_grad():
        model.score.weight.copy_(torch.from_numpy(np.load(root / "pairs.npz")["head"])[None])
    trainer = trl_trainers.reward(model, pairs, str(root / "reward"), recorded(RewardTrainer), **settings)
    trainer.train()
    model.eval()
    rewards = [torch.stack(model(**batch).logits[:, 0].chunk(2)) for batch in batches(trainer)]
    return {"reward_losses": np.array(trainer.losses), "reward_rewards": torch.cat(rewards, dim=1).numpy()}


def main(root: pathlib.Path) -> None:
    """Trains both."""
    pairs, settings = pairs_of(root), json.loads((root / "settings.json").read_text())
    trained = reward(root, pairs, settings) | dpo(root, pairs, settings)
    np.savez(root / "trained.npz", **trained)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
