"""TRL's own trainers on pairs of token ids; for an interpreter that has trl 1.16, never for ours.

A tokenizer whose words are the ids themselves ("<17>") carries them through the trainers' preparation of text, so both sides train on the same tokens. The
pairs are taken in the order given. What the trainers do by default and a comparison must not is switched off: gradient checkpointing, bfloat16.
"""

import datasets
import numpy as np
import tokenizers
import transformers
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

PAD_ID, EOS_ID = 0, 1


def tokenizer(size: int) -> transformers.PreTrainedTokenizerFast:
    """One word for each id."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({_word(token): token for token in range(size)}))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=_word(PAD_ID), eos_token=_word(EOS_ID)
    )


def dataset(prompts: list[np.ndarray], chosen: list[np.ndarray], rejected: list[np.ndarray]) -> datasets.Dataset:
    """Pairs as text; completions hold their EOS."""
    return datasets.Dataset.from_dict(
        {
            "prompt": [_text(ids) for ids in prompts],
            "chosen": [" " + _text(ids) for ids in chosen],
            "rejected": [" " + _text(ids) for ids in rejected],
        }
    )


def dpo(model, reference, pairs: datasets.Dataset, output: str, kind=DPOTrainer, **settings) -> DPOTrainer:
    """A DPO trainer, or of a `kind` made of it; `reference` is a model of its own, or None where its log-probabilities are computed beforehand."""
    config = DPOConfig(output, **_SETTINGS | settings)
    return kind(model, reference, args=config, train_dataset=pairs, processing_class=tokenizer(model.config.vocab_size))


def reward(model, pairs: datasets.Dataset, output: str, kind=RewardTrainer, **settings) -> RewardTrainer:
    """A reward trainer, or of a `kind` made of it."""
    config = RewardConfig(output, **_SETTINGS | settings)
    return kind(model, args=config, train_dataset=pairs, processing_class=tokenizer(model.config.vocab_size))


_SETTINGS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "train_sampling_strategy": "sequential",
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "max_length": None,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def _word(token: int) -> str:
    return f"<{token}>"


def _text(ids: np.ndarray) -> str:
    return " ".join(_word(token) for token in ids)
