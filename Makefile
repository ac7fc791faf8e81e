# Two commands: `make demo` and `make test`. Each sets up what it needs, and each may be repeated.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUNS := runs/cpu_demo
REPORT := reports/cpu_demo
ALIGN_RUNS := runs/align_demo
ALIGN_REPORT := reports/align_demo

.PHONY: demo test quick setup benchmarks clean-demo

demo: setup
	$(BIN)/python -m scaling.prepare_data --gin_file=configs/data/sotu_bpe512.gin
	# 70: all finished, some diverged and are recorded so; the fit leaves those out and says so.
	$(BIN)/python -m launch.sweep --gin_file=configs/sweeps/cpu_demo.gin || test $$? -eq 70
	# 3: written, but the law's certificate objects, and the output says why.
	$(BIN)/python -m analysis.fit_laws --runs=$(RUNS) --output_dir=$(REPORT) --title="Scaling laws of the CPU demo" || test $$? -eq 3
	$(BIN)/python -m align.prepare_data --gin_file=configs/align/data/rater_pairs_sotu_bpe512.gin
	$(BIN)/python -m align.prepare_data --gin_file=configs/align/data/review_prompts_sotu_bpe512.gin
	$(BIN)/python -m align.train_judge --gin_file=configs/align/gold/movie_judge.gin
	$(BIN)/python -m align.study --gin_file=configs/align/studies/cpu_demo.gin || test $$? -eq 70
	$(BIN)/python -m analysis.frontier --runs=$(ALIGN_RUNS) --output_dir=$(ALIGN_REPORT) --title="Alignment of the CPU demo" || test $$? -eq 3

test: $(VENV)/.installed-extras
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: $(VENV)/.installed-extras
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not tensorflow"

benchmarks: setup
	$(BIN)/python -m tests.benchmarks.training_speed
	$(BIN)/python -m tests.benchmarks.fitting_speed
	$(BIN)/python -m tests.benchmarks.generation_speed
	$(BIN)/python -m tests.benchmarks.preference_speed
	$(BIN)/python -m tests.benchmarks.population_speed
	$(BIN)/python -m tests.benchmarks.launch_overhead

setup: $(VENV)/.installed

# The stamp is written last, so an interrupted installation is begun again.
$(VENV)/.installed: requirements.lock setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Without these the tests of the search, of Slurm and of TensorBoard would be skipped. The other extras are large.
$(VENV)/.installed-extras: $(VENV)/.installed requirements-extras.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements-extras.lock optuna submitit tensorboardX
	touch $@

clean-demo:
	rm -rf $(RUNS) $(REPORT) $(ALIGN_RUNS) $(ALIGN_REPORT) stores/align_demo_pairs
