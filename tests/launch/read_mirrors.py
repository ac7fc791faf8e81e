"""Prints, as JSON, what a service's store holds: `python read_mirrors.py SERVICE PLACE`. It runs where the service is installed,
with that service's own reader.

{run id: {"points": {name: [[step, value], ...]}, "settings": {...}, "status": ...}}
"""

import collections
import json
import pathlib
import struct
import sys
import types


def tensorboard(place: pathlib.Path) -> dict:
    """Through TensorBoard's own accumulator."""
    # Without this the reader would load TensorFlow, for seconds.
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = {}
    for folder in {path.parent for path in place.rglob("events.out.tfevents*")}:
        reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        reader.Reload()
        points = {tag: [[event.step, event.value] for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
        settings = {}
        if metadata.SESSION_START_INFO_TAG in reader.summary_metadata:
            content = reader.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
            values = metadata.parse_session_start_info_plugin_data(content).hparams
            settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}
        found[folder.name] = {"points": points, "settings": settings, "status": None}
    return found


def mlflow(place: pathlib.Path) -> dict:
    """Through MLflow's client."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()], max_results=5000
    )
    found = {}
    for run in runs:
        points = {
            name: sorted([point.step, point.value] for point in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        run_id = run.data.tags["plumbline.run_id"]
        assert run_id not in found, f"{run_id} is there twice"
        found[run_id] = {"points": points, "settings": run.data.params, "status": run.info.status}
    return found


def wandb(place: pathlib.Path) -> dict:
    """Through W&B's own messages, from the log that `wandb sync` sends."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for file in sorted(place.glob("wandb/offline-run-*/*.wandb")):
        points, settings, run_id, status = collections.defaultdict(list), {}, "", None
        for message in _log_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(message)
            match record.WhichOneof("record_type"):
                case "run":
                    run_id = record.run.run_id
                    settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
                case "history":
                    for item in record.history.item:
                        name = item.key or item.nested_key[0]
                        points[name].append([record.history.step.num, json.loads(item.value_json)])
                case "summary":
                    changed = {
                        item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update
                    }
                    status = changed.get("status", status)
        assert run_id not in found, f"{run_id} has two directories, of which a sync would keep one"
        found[run_id] = {"points": points, "settings": settings, "status": status}
    return found


def _log_records(data: bytes):
    """Records of a LevelDB log, the container of `.wandb` files: blocks of 32 KiB of (checksum, length, type, data) after a header of 7 bytes."""
    block, header, parts, position = 32768, 7, b"", 7
    while position + header <= len(data):
        left = block - position % block
        if left < header:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + header])
        parts += data[position + header : position + header + length]
        position += header + length
        # 1 is whole, 4 the last of several.
        if kind in (1, 4):
            yield parts
            parts = b""


if __name__ == "__main__":
    print(
        json.dumps(
            {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}[sys.argv[1]](pathlib.Path(sys.argv[2]))
        )
    )
