"""Peaks: a measured CPU, published accelerators."""

import types

import jax

from scaling.accounting import peak


def test_the_cpu_peak_is_measured_and_kept():
    first = peak.peak_flops("float32")
    assert 1e8 < first < 1e15
    assert peak.peak_flops("float32") == first


def test_the_measurement_runs_where_implicit_transfers_are_forbidden():
    peak.measured_matmul_peak.cache_clear()
    with jax.transfer_guard("disallow"):
        assert peak.measured_matmul_peak("float32") > 0


def test_accelerators_use_the_published_figure_for_bfloat16_only(monkeypatch):
    device = types.SimpleNamespace(platform="tpu", device_kind="TPU v4")
    monkeypatch.setattr(jax, "local_devices", lambda: [device] * 2)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert peak.peak_flops("bfloat16") == 4 * 275e12
    assert peak.peak_flops("float32") is None


def test_an_unknown_accelerator_has_no_peak(monkeypatch):
    monkeypatch.setattr(
        jax, "local_devices", lambda: [types.SimpleNamespace(platform="gpu", device_kind="Imaginary 9")]
    )
    assert peak.peak_flops("bfloat16") is None
