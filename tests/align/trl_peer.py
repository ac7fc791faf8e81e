"""Losses and gradients by TRL, for test_trl.py; runs in an interpreter that has trl 1.16.

    python trl_peer.py ROOT

reads ROOT/inputs.npz and ROOT/cases.json, and writes ROOT/outputs.npz: for case c the value `c/value` and the gradients `c/chosen`, `c/rejected` and so on.
The trainers' own methods are called with a stand-in for the trainer, whose model answers with log-probabilities that were handed in: nothing but the loss is
computed.
"""

import collections
import json
import pathlib
import sys
import types

import numpy as np
import torch
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

torch.set_default_dtype(torch.float64)


class Accelerator:
    """One process: gathering changes nothing."""

    device = torch.device("cpu")
    num_processes = 1
    sync_gradients = True

    def gather(self, tensor):
        return tensor

    def gather_for_metrics(self, tensor):
        return tensor

    def reduce(self, tensor, reduction):
        return tensor

    def unwrap_model(self, model):
        return model


def trainer(**fields):
    """What the loss methods read of their trainer."""
    defaults = {
        "accelerator": Accelerator(),
        "model": types.SimpleNamespace(training=True, is_gradient_checkpointing=False),
        "aux_loss_enabled": False,
        "precompute_ref_logps": False,
        "use_weighting": False,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
        "label_smoothing": 0.0,
        "args": types.SimpleNamespace(
            gradient_checkpointing_kwargs=None,
            discopop_tau=0.05,
            delta=None,
            use_bias_correction_kl=False,
            center_rewards_coefficient=None,
        ),
        "_metrics": {"train": collections.defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return types.SimpleNamespace(**(defaults | fields))


def model_of(log_probs, mask, alignment=None):
    """A model whose answer is known: log-probabilities of the completion's tokens, 0 elsewhere, at the place that predicts them."""
    counted = torch.where(mask.bool(), log_probs, torch.zeros((), dtype=log_probs.dtype))[:, 1:]
    outputs = types.SimpleNamespace(
        log_probs=counted,
        log_sum_sq_probs=None if alignment is None else torch.where(mask.bool(), alignment, torch.zeros(()))[:, 1:],
        entropy=torch.zeros_like(counted),
        mean_logits=torch.zeros_like(counted),
        is_top1=torch.zeros_like(counted, dtype=torch.bool),
    )
    return lambda **_: outputs


class Pairs:
    """Both sides as leaves that gradients are taken of."""

    def __init__(self, inputs, dtype):
        read = {name: torch.tensor(inputs[name]) for name in inputs.files}
        self.chosen, self.rejected = (
            read[f"{side}/policy"].to(dtype).requires_grad_() for side in ("chosen", "rejected")
        )
        sides = ("chosen", "rejected")
        self.mask = torch.cat([read[f"{side}/mask"] for side in sides])
        self.reference = torch.cat([read[f"{side}/reference"].to(dtype) for side in sides])
        self.alignment = torch.cat([read[f"{side}/log_alignment"].to(dtype) for side in sides])
        self.mismatched = {name: read[f"mismatched/{name}"] for name in ("policy", "reference", "mask")}

    @property
    def policy(self):
        return torch.cat([self.chosen, self.rejected])

    def sums(self):
        counted = torch.where(self.mask.bool(), self.policy, torch.zeros(()))
        return counted.sum(-1).chunk(2), self.mask.sum(-1).chunk(2)


def dpo(pairs, fields):
    inputs = {
        "input_ids": torch.zeros_like(pairs.mask),
        "attention_mask": torch.ones_like(pairs.mask),
        "completion_mask": pairs.mask,
    }
    stand_in = trainer(ref_model=model_of(pairs.reference, pairs.mask), **fields)
    stand_in.args.discopop_tau = fields.get("discopop_tau", 0.05)
    return DPOTrainer._compute_loss(stand_in, model_of(pairs.policy, pairs.mask, pairs.alignment), inputs, False)


def kto(pairs, fields):
    rows = len(pairs.mask)
    inputs = {
        "input_ids": torch.zeros_like(pairs.mask),
        "attention_mask": torch.ones_like(pairs.mask),
        "completion_mask": pairs.mask,
        "KL_input_ids": torch.ones_like(pairs.mismatched["mask"]),
        "KL_attention_mask": torch.ones_like(pairs.mismatched["mask"]),
        "KL_completion_mask": pairs.mismatched["mask"],
        "label": torch.tensor([True] * (rows // 2) + [False] * (rows // 2)),
    }

    def model(kind, of_pairs):
        answers = (model_of(of_pairs, pairs.mask), model_of(pairs.mismatched[kind], pairs.mismatched["mask"]))
        return lambda **inputs: answers[int(inputs["input_ids"].flatten()[0])]()

    stand_in = trainer(calculate_KL=True, loss_type="kto", ref_model=model("reference", pairs.reference), **fields)
    stand_in._compute_kl_logps = types.MethodType(KTOTrainer._compute_kl_logps, stand_in)
    return KTOTrainer._compute_loss(stand_in, model("policy", pairs.policy), inputs, False)


def reference_free(pairs, fields, owner, method, averaged):
    """CPO, SimPO and ORPO with their likelihood term; the forward pass is handed in."""
    (chosen, rejected), (n_chosen, n_rejected) = pairs.sums()
    nll = -chosen.sum() / n_chosen.sum()
    if averaged:
        chosen, rejected = chosen / n_chosen, rejected / n_rejected
    stand_in = trainer(alpha=0.0, **fields)
    stand_in.concatenated_forward = lambda model, batch: (chosen, rejected, chosen, rejected, nll)
    setattr(stand_in, method, types.MethodType(getattr(owner, method), stand_in))
    return owner.get_batch_loss_metrics(stand_in, None, None)[0]


def orpo(pairs, fields):
    single = torch.Tensor.float
    # The trainer casts to float32 on the way; in float32 nothing could be said to 1e-9.
    torch.Tensor.float = torch.Tensor.double
    try:
        return reference_free(pairs, fields, ORPOTrainer, "odds_ratio_loss", averaged=True)
    finally:
        torch.Tensor.float = single


def preference(inputs, case):
    pairs = Pairs(inputs, torch.float32 if case.get("single") else torch.float64)
    fields = case["fields"]
    if case["trainer"] == "dpo":
        loss = dpo(pairs, fields)
    elif case["trainer"] == "kto":
        loss = kto(pairs, fields)
    elif case["trainer"] == "orpo":
        loss = orpo(pairs, fields)
    else:
        loss = reference_free(pairs, fields, CPOTrainer, "cpo_loss", averaged=fields["loss_type"] == "simpo")
    loss.backward()
    return {"value": loss, "chosen": pairs.chosen.grad, "rejected": pairs.rejected.grad}


def reward(inputs, case):
    rewards = torch.tensor(inputs["rewards"]).requires_grad_()
    given = {"attention_mask": torch.ones(rewards.shape)}
    if case["margin"]:
        given["margin"] = torch.tensor(inputs["reward_margin"])
    stand_in = trainer()
    stand_in.args.center_rewards_coefficient = case["centring"]
    loss = RewardTrainer.compute_loss(
        stand_in, lambda **_: types.SimpleNamespace(logits=rewards.flatten()[:, None]), given
    )
    loss.backward()
    return {"value": loss, "rewards": rewards.grad}


def policy(inputs, case):
    """GRPO's and RLOO's surrogates, with their normalisations and the k3 penalty."""
    log_probs = torch.tensor(inputs["log_probs"]).requires_grad_()
    mask = torch.tensor(inputs["completion_mask"])
    given = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask),
        "completion_mask": mask,
        "advantages": torch.tensor(inputs["advantages"]),
        "old_per_token_logps": torch.tensor(inputs["old_log_probs"]),
        "ref_per_token_logps": torch.tensor(inputs["reference_log_probs"]),
        "old_logps": (torch.tensor(inputs["old_log_probs"]) * mask).sum(1),
        "num_items_in_batch": mask.sum(),
    }
    stand_in = trainer(
        **{
            "top_entropy_quantile": 1.0,
            "off_policy_mask_threshold": None,
            "importance_sampling_level": "token",
            "use_vllm": False,
            "_entropy_bonus_enabled": False,
            "current_gradient_accumulation_steps": 1,
            "max_completion_length": 20,
            "beta": 0.0,
            "epsilon_low": 0.2,
            "epsilon_high": 0.2,
        }
        | case["fields"]
    )
    stand_in.args.delta = case.get("delta")
    stand_in.args.steps_per_generation = 1
    stand_in._get_per_token_logps_and_entropies = lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None)
    loss = {"grpo": GRPOTrainer, "rloo": RLOOTrainer}[case["trainer"]]._compute_loss(stand_in, None, given)
    loss.backward()
    return {"value": loss, "log_probs": log_probs.grad}


def main(root: pathlib.Path) -> None:
    """Computes all cases."""
    inputs, outputs = np.load(root / "inputs.npz"), {}
    kinds = {"preference": preference, "reward": reward, "policy": policy}
    for name, case in json.loads((root / "cases.json").read_text()).items():
        for key, tensor in kinds[case["kind"]](inputs, case).items():
            outputs[f"{name}/{key}"] = tensor.detach().numpy()
    np.savez(root / "outputs.npz", **outputs)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
