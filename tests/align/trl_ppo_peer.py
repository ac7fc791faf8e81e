"""PPO's parts and BCO by the last TRL that had them, for test_trl_ppo.py; runs in an interpreter that has trl 0.11.

    python trl_ppo_peer.py ROOT

reads ROOT/inputs.npz and writes ROOT/outputs.npz. The trainers' own methods are called with a stand-in for the trainer.
"""

import pathlib
import sys
import types

import numpy as np
import torch
from trl import BCOTrainer
from trl.core import entropy_from_logits, masked_whiten
from trl.trainer.ppo_trainer import PPOTrainer
from trl.trainer.utils import AdaptiveKLController, RunningMoments

torch.set_default_dtype(torch.float64)
# BCO's running mean is cast to float32 on the way; in float32 nothing could be said to 1e-9.
torch.Tensor.float = torch.Tensor.double


def trainer(**config):
    """What PPO's methods read of their trainer."""
    settings = {"whiten_rewards": False, "gamma": 0.97, "lam": 0.9, "cliprange": 0.2, "cliprange_value": 0.2}
    settings |= {"vf_coef": 0.1, "ratio_threshold": 1e9} | config
    stand_in = types.SimpleNamespace(config=types.SimpleNamespace(**settings), kl_ctl=types.SimpleNamespace(value=0.3))
    stand_in._kl_penalty = types.MethodType(PPOTrainer._kl_penalty, stand_in)
    return stand_in


def rewards_and_advantages(read, outputs):
    mask = read["mask"]
    for name in ("kl", "mse"):
        given = (read["scores"], read["log_probs"], read["reference_log_probs"], mask)
        outputs[f"rewards/{name}"] = PPOTrainer.compute_rewards(trainer(kl_penalty=name), *given)[0]
    outputs["exact_kl"] = trainer(kl_penalty="full")._kl_penalty(
        read["logits"].log_softmax(-1), read["reference_logits"].log_softmax(-1)
    )
    given = (read["old_values"], outputs["rewards/kl"], mask)
    _, outputs["advantages"], outputs["returns"] = PPOTrainer.compute_advantages(trainer(), *given)
    for shift in (True, False):
        outputs[f"whitened/{shift}"] = masked_whiten(read["values"], mask, shift_mean=shift)
    outputs["entropy"] = entropy_from_logits(read["logits"])


def losses(read, outputs):
    log_probs, values = read["log_probs"].requires_grad_(), read["values"].requires_grad_()
    given = (read["old_log_probs"], read["old_values"], read["logits"], values, log_probs, read["mask"])
    policy, value, stats = PPOTrainer.loss(trainer(), *given, outputs["advantages"], outputs["returns"])
    (policy + value).backward()
    outputs |= {
        "policy_loss": policy,
        "value_loss": value,
        "policy_gradient": log_probs.grad,
        "value_gradient": values.grad,
    }
    return outputs | {"policy_clipped": stats["policy/clipfrac"], "value_clipped": stats["val/clipfrac"]}


def controller(read):
    adaptive, path = AdaptiveKLController(0.2, 6.0, 1000.0), []
    for kl in read["measured_kl"].tolist():
        adaptive.update(kl, 64)
        path.append(adaptive.value)
    return torch.tensor(path)


def bco(read, outputs):
    stand_in = types.SimpleNamespace(beta=0.3, match_underlying_distribution=False)
    stand_in.running = RunningMoments(types.SimpleNamespace(use_distributed=False))
    for batch in range(len(read["chosen"])):
        chosen, rejected = (read[side][batch].clone().requires_grad_() for side in ("chosen", "rejected"))
        zeros = torch.zeros_like(chosen)
        result = BCOTrainer.bco_loss(stand_in, chosen, rejected, zeros, zeros, None, None)[0]
        result.sum().backward()
        outputs |= {f"bco/{batch}": result, f"bco_gradient/{batch}": torch.stack([chosen.grad, rejected.grad])}
    return outputs


def main(root: pathlib.Path) -> None:
    """Computes everything."""
    inputs, outputs = np.load(root / "inputs.npz"), {}
    read = {name: torch.tensor(inputs[name]) for name in inputs.files}
    rewards_and_advantages(read, outputs)
    outputs = bco(read, losses(read, outputs)) | {"controller": controller(read)}
    np.savez(root / "outputs.npz", **{name: tensor.detach().numpy() for name, tensor in outputs.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
