"""Every place of the module's table, recognised by the variables that it really sets."""

import pytest

from scaling.distributed import Place, place_of, slurm_local_devices, start
from scaling.errors import ConfigError

EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
SKYPILOT = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n", "SKYPILOT_NODE_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
SLOT = {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_VISIBLE_CHIPS": "3", "TPU_PROCESS_ADDRESSES": "localhost:8479"}


def test_a_process_alone_starts_nothing():
    assert place_of({}, tpu=False) == Place("single")


def test_explicit_variables_come_before_everything_else():
    """JAX itself reads the address alone; the number of processes and this one's would be lost."""
    place = place_of(EXPLICIT | SLOT | SLURM | SKYPILOT | {"JAX_LOCAL_DEVICE_IDS": "0,1"}, tpu=True)
    assert place.name == "explicit"
    assert place.arguments == {
        "coordinator_address": "10.0.0.1:1234",
        "num_processes": 4,
        "process_id": 3,
        "local_device_ids": [0, 1],
        "cluster_detection_method": "deactivate",
    }


def test_a_masked_slot_does_not_wait_for_the_slice():
    assert place_of(SLOT | SLURM | SKYPILOT, tpu=True) == Place("masked TPU slot")


def test_a_tpu_slice_is_left_to_the_metadata_of_its_hosts():
    assert place_of(SKYPILOT, tpu=True) == Place("TPU slice", {})
    assert place_of({"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "a,b"}, tpu=True) == Place("TPU slice", {})


def test_chips_in_a_container_that_knows_of_no_other_host_are_used_alone():
    assert place_of({"TPU_SKIP_MDS_QUERY": "1"}, tpu=True) == Place("single")


def test_a_slurm_step_is_started_and_a_batch_script_is_not():
    assert place_of(SLURM, tpu=False) == Place("Slurm step", {"cluster_detection_method": "slurm"})
    batch_script = {name: value for name, value in SLURM.items() if "STEP" not in name}
    assert place_of(batch_script, tpu=False) == Place("single")
    assert place_of(SLURM | {"SLURM_NTASKS": "1"}, tpu=False) == Place("single")


@pytest.mark.parametrize(
    ("visible", "tasks_per_node", "local", "expected"),
    [
        ("0,1,2,3,4,5,6,7", "1(x2)", "0", list(range(8))),  # JAX alone would use one of the eight.
        ("0,1,2,3,4,5,6,7", "8(x2)", "5", [5]),
        ("0,1,2,3,4,5,6,7", "4,2(x3)", "1", [4, 5, 6, 7]),  # Node 1 is one of the three with two tasks.
        ("6", "8(x2)", "6", [0]),  # --gpus-per-task: each sees its own alone, and as number 0.
        ("", "8(x2)", "5", None),
    ],
)
def test_the_gpus_of_a_node_are_shared_among_its_tasks(visible, tasks_per_node, local, expected):
    step = {"CUDA_VISIBLE_DEVICES": visible, "SLURM_STEP_TASKS_PER_NODE": tasks_per_node, "SLURM_LOCALID": local}
    assert slurm_local_devices(SLURM | step) == expected
    arguments = place_of(SLURM | step | {"SLURM_NTASKS": "16"}, tpu=False).arguments
    assert arguments.get("local_device_ids") == expected


def test_skypilot_nodes_find_each_other_by_the_first_address():
    arguments = place_of(SKYPILOT, tpu=False).arguments
    assert (arguments["coordinator_address"], arguments["num_processes"], arguments["process_id"]) == (
        "10.0.0.1:8476",
        2,
        1,
    )
    assert place_of(SKYPILOT | {"SKYPILOT_NUM_NODES": "1"}, tpu=False) == Place("single")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "without JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        ({"JAX_PROCESS_ID": "0"}, "JAX_PROCESS_ID is set without JAX_COORDINATOR_ADDRESS"),
        (EXPLICIT | {"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID=4 is not among the 4 processes"),
        (EXPLICIT | {"JAX_NUM_PROCESSES": "four"}, "JAX_NUM_PROCESSES is 'four', not a number"),
        (EXPLICIT | {"JAX_LOCAL_DEVICE_IDS": "0-3"}, "JAX_LOCAL_DEVICE_IDS is '0-3'"),
        ({"SKYPILOT_NUM_NODES": "two"}, "SKYPILOT_NUM_NODES is 'two', not a number"),
        ({"SKYPILOT_NUM_NODES": "2"}, "without SKYPILOT_NODE_IPS"),
        (SKYPILOT | {"SKYPILOT_NODE_RANK": ""}, "SKYPILOT_NODE_RANK is '', not a number"),
        (
            SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2", "SLURM_STEP_TASKS_PER_NODE": "2"},
            "3 GPUs do not divide among the 2",
        ),
    ],
)
def test_contradictions_are_one_line(environment, message):
    with pytest.raises(ConfigError, match=message):
        place_of(environment, tpu=False)


def test_starting_a_process_alone_leaves_jax_as_it_is(monkeypatch):
    """The suite itself runs in one process: whatever its machine sets must not be taken for a cluster."""
    import jax

    for name in (*EXPLICIT, *SKYPILOT, *SLURM, *SLOT):
        monkeypatch.delenv(name, raising=False)
    assert start() == Place("single")
    assert not jax.distributed.is_initialized()


def test_what_knows_no_other_process_refuses_to_be_one_of_several(monkeypatch):
    from scaling import distributed

    monkeypatch.setattr(distributed, "start", lambda: Place("SkyPilot", {}))
    monkeypatch.setattr(distributed, "process_count", lambda: 4)
    with pytest.raises(ConfigError, match=r"a stage runs in one process, and 4 were started \(SkyPilot\)"):
        distributed.start_alone("a stage")
    monkeypatch.setattr(distributed, "process_count", lambda: 1)
    assert distributed.start_alone("a stage").name == "SkyPilot"
