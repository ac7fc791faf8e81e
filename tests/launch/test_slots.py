"""Slots: shares of a machine that never overlap, and the variables that show a job its own."""

import fnmatch

import pytest

from launch.engines.local import slots
from scaling.errors import ConfigError


def test_cores_are_shared_out_evenly():
    assert [slots.cores_of_slot(slot, 2, range(4)) for slot in range(2)] == [[0, 1], [2, 3]]
    assert [slots.cores_of_slot(slot, 3, [4, 5]) for slot in range(3)] == [[4], [5], [4]]
    assert [slots.cores_of_slot(slot, 2, range(5)) for slot in range(2)] == [[0, 1], [2, 3, 4]]


def test_gpus_of_a_mask_are_shared_out_by_the_names_that_it_gives():
    made = slots.make_slots(2, "cuda", ("3", "5", "6", "7"), chips_per_slot=2)
    assert [slot.variables["CUDA_VISIBLE_DEVICES"] for slot in made] == ["3,5", "6,7"]


@pytest.mark.parametrize(("chips", "count", "bounds"), [(1, 8, "1,1,1"), (4, 2, "2,2,1"), (8, 1, "2,4,1")])
def test_chips_of_a_tpu_host_are_shown_once_each_with_a_port_for_each_process(chips, count, bounds):
    made = slots.make_slots(count, "tpu", tuple("01234567"), chips)
    shown = [chip for slot in made for chip in slot.variables["TPU_VISIBLE_CHIPS"].split(",")]
    assert shown == list("01234567")
    assert {slot.variables["TPU_CHIPS_PER_PROCESS_BOUNDS"] for slot in made} == {bounds}
    ports = [slot.variables["TPU_PROCESS_PORT"] for slot in made]
    assert len(set(ports)) == count
    assert [slot.variables["TPU_PROCESS_ADDRESSES"] for slot in made] == [f"localhost:{port}" for port in ports]
    assert {slot.variables["TPU_PROCESS_BOUNDS"] for slot in made} == {"1,1,1"}


@pytest.mark.parametrize(
    ("count", "accelerator", "chips", "named"),
    [(4, "tpu", 2, "1, 4, 8"), (9, "tpu", 1, "9 slots"), (3, "cuda", 4, "12 cuda devices")],
)
def test_masks_that_cannot_be_are_refused(count, accelerator, chips, named):
    with pytest.raises(ConfigError, match=named):
        slots.make_slots(count, accelerator, tuple("01234567"), chips)


def test_devices_of_the_machine_are_those_of_the_mask_that_is_set(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert slots.devices_of_machine("cuda") == ("2", "3")
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "4,5,6,7")
    assert slots.devices_of_machine("tpu") == ("4", "5", "6", "7")
    assert slots.default_slots("tpu", 4, chips_per_slot=4) == 1 and slots.default_slots("cpu", 6, 1) == 6


@pytest.mark.parametrize(
    ("files", "variables", "expected"),
    [
        (["/dev/nvidia0"], {}, "cuda"),
        (["/dev/nvidia0"], {"CUDA_VISIBLE_DEVICES": ""}, "cpu"),
        (["/dev/nvidia0"], {"JAX_PLATFORMS": "cpu"}, "cpu"),
        (["/dev/vfio/0"], {}, "tpu"),
        ([], {}, "cpu"),
    ],
)
def test_slots_are_made_of_what_jax_would_use(monkeypatch, files, variables, expected):
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slots.glob, "glob", lambda pattern: [file for file in files if fnmatch.fnmatch(file, pattern)])
    assert slots.accelerator_of_machine() == expected
