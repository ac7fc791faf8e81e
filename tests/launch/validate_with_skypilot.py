"""Reads task files with SkyPilot's own parser: `PLUMBLINE_SKY_PYTHON validate_with_skypilot.py FILE ..`, in a HOME of its own.

SkyPilot looks regions and GPUs up in a catalogue that it would download; a few rows of one stand in for it, so nothing leaves the machine.
"""

import os
import pathlib
import sys

VMS = """\
InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
n1-highmem-8,8.0,52.0,,,,us-west4,us-west4-a,0.47,0.1
n1-highmem-8,8.0,52.0,,,,us-east5,us-east5-a,0.47,0.1
a3-highgpu-8g,208.0,1872.0,,,,us-central1,us-central1-a,9.46,2.89
,,,H100,8.0,H100,us-central1,us-central1-a,78.5,18.5
,,,tpu-v5litepod-8,1,tpu-v5litepod-8,us-west4,us-west4-a,9.6,3.84
,,,tpu-v5litepod-16,1,tpu-v5litepod-16,us-west4,us-west4-a,19.2,7.68
,,,tpu-v5p-16,1,tpu-v5p-16,us-east5,us-east5-a,33.6,13.44
,,,tpu-v6e-8,1,tpu-v6e-8,us-east5,us-east5-b,21.6,9.72
,,,tpu-v6e-16,1,tpu-v6e-16,us-east5,us-east5-b,43.2,19.44
"""
ACCELERATORS = """\
AcceleratorName,AcceleratorMemory,Clouds
H100,81920MiB,"['GCP', 'Kubernetes']"
"""


def write_catalogue(home: pathlib.Path) -> None:
    """The rows above, where SkyPilot keeps what it downloaded."""
    from sky.skylet import constants

    folder = home / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION
    (folder / "gcp").mkdir(parents=True)
    (folder / "common").mkdir()
    (folder / "gcp" / "vms.csv").write_text(VMS)
    (folder / "gcp" / "images.csv").write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate\n")
    (folder / "common" / "accelerators.csv").write_text(ACCELERATORS)


def main() -> None:
    """Prints a line for each file; an exception of SkyPilot's ends it."""
    write_catalogue(pathlib.Path(os.environ["HOME"]))
    import sky

    for file in sys.argv[1:]:
        task = sky.Task.from_yaml(file)
        task.validate()
        (resources,) = task.resources
        print(
            f"{file}: {resources.infra.to_str()} {resources.accelerators} {resources.accelerator_args} x{task.num_nodes}"
        )


if __name__ == "__main__":
    main()
