"""Every preference loss once more, in plain Python from the papers' formulas: one pair at a time, one token at a time."""

import math


def sig(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def log_sig(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


class Pair:
    """Sums of one pair, by loops; `first` bounds the tokens that count in full, for LD-DPO."""

    def __init__(self, pairs, b, ld_alpha=1.0):
        self.w, self.l = tokens(pairs.chosen, b), tokens(pairs.rejected, b)
        shared = min(len(self.w), len(self.l))

        def total(rows, column):
            return sum(row[column] * (1.0 if t < shared else ld_alpha) for t, row in enumerate(rows))

        self.logp_w, self.ref_w = total(self.w, 0), total(self.w, 1)
        self.logp_l, self.ref_l = total(self.l, 0), total(self.l, 1)
        self.s_w, self.s_l = self.logp_w - self.ref_w, self.logp_l - self.ref_l
        self.n_w, self.n_l = len(self.w), len(self.l)


def tokens(side, b):
    """(policy, reference, alignment) of each token of a completion."""
    columns = range(len(side.policy[b]))
    return [(side.policy[b][t], side.reference[b][t], side.log_alignment[b][t]) for t in columns if side.mask[b][t]]


def smoothed(x, e):
    return -(1 - e) * log_sig(x) - e * log_sig(-x)


def sigmoid(p, beta, label_smoothing=0.0):
    return smoothed(beta * (p.s_w - p.s_l), label_smoothing)


def sigmoid_norm(p, beta, label_smoothing=0.0):
    return smoothed(beta * (p.s_w / p.n_w - p.s_l / p.n_l), label_smoothing)


def robust(p, beta, label_smoothing=0.1):
    x, e = beta * (p.s_w - p.s_l), label_smoothing
    return (-(1 - e) * log_sig(x) + e * log_sig(-x)) / (1 - 2 * e)


def ipo(p, beta, reduction="sum"):
    h = p.s_w - p.s_l if reduction == "sum" else p.s_w / p.n_w - p.s_l / p.n_l
    return (h - 1 / (2 * beta)) ** 2


def hinge(p, beta):
    return max(0.0, 1 - beta * (p.s_w - p.s_l))


def bco_pair(p, beta):
    return -log_sig(beta * p.s_w) - log_sig(-beta * p.s_l)


def exo(p, beta, label_smoothing=1e-3):
    x = beta * (p.s_w - p.s_l)
    up = sig(x) * (log_sig(x) - math.log(1 - label_smoothing))
    return up + sig(-x) * (log_sig(-x) - math.log(label_smoothing))


def nca(p, beta):
    return -log_sig(beta * p.s_w) - 0.5 * log_sig(-beta * p.s_w) - 0.5 * log_sig(-beta * p.s_l)


def sppo(p, beta):
    return (p.s_w - 0.5 / beta) ** 2 + (p.s_l + 0.5 / beta) ** 2


def apo_zero(p, beta):
    return 1 - sig(beta * p.s_w) + sig(beta * p.s_l)


def apo_down(p, beta):
    return sig(beta * p.s_w) + 1 - sig(beta * (p.s_w - p.s_l))


def discopop(p, beta, temperature=0.05):
    x = beta * (p.s_w - p.s_l)
    modulation = sig(x / temperature)
    return -log_sig(x) * (1 - modulation) + math.exp(-x) * modulation


def orpo(p, beta, nll_weight=1.0, nll_reduction="mean"):
    def log_odds(mean):
        mean = min(mean, -1e-7)
        return mean - math.log(1 - math.exp(mean))

    ratio = log_odds(p.logp_w / p.n_w) - log_odds(p.logp_l / p.n_l)
    nll = -p.logp_w / (p.n_w if nll_reduction == "mean" else 1)
    return nll_weight * nll - beta * log_sig(ratio)


def simpo(p, beta, gamma=0.5, label_smoothing=0.0):
    return smoothed(beta * (p.logp_w / p.n_w - p.logp_l / p.n_l) - gamma, label_smoothing)


def cpo(p, beta, nll_weight=1.0, nll_reduction="sum", label_smoothing=0.0):
    nll = -p.logp_w / (p.n_w if nll_reduction == "mean" else 1)
    return smoothed(beta * (p.logp_w - p.logp_l), label_smoothing) + nll_weight * nll


def unlikelihood(p, beta, unlikelihood_weight=1.0):
    return -p.logp_w + unlikelihood_weight * p.logp_l


def preferred_ft(p, beta, nll_reduction="sum"):
    return -p.logp_w / (p.n_w if nll_reduction == "mean" else 1)


def kto(p, beta, z0, desirable_weight=1.0, undesirable_weight=1.0):
    up = desirable_weight * (1 - sig(beta * (p.s_w - z0)))
    return (up + undesirable_weight * (1 - sig(beta * (z0 - p.s_l)))) / 2


def bco(p, beta, shift):
    return -log_sig(beta * p.s_w - shift) - log_sig(-(beta * p.s_l - shift))


def f_prime(log_ratio, divergence, alpha=0.5, convention="wang"):
    u = math.exp(log_ratio)
    if divergence == "forward_kl":
        return 1 - 1 / u
    if divergence == "js":
        return math.log(2 * u / (1 + u))
    if divergence == "alpha":
        return (1 - u**-alpha) / alpha if convention == "wang" else (u ** (alpha - 1) - 1) / (alpha - 1)
    return log_ratio


def wpo_weight(p, aligned):
    def geometric_mean(rows):
        logs = [row[0] - (row[2] if aligned else 0.0) for row in rows]
        return math.exp(sum(logs) / len(logs))

    return geometric_mean(p.w) * geometric_mean(p.l)
