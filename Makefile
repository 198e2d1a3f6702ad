# Everything happens in .venv; nothing global is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: serve test test-heavy check format tables proto prometheus clean

serve: .venv/installed  ## serves the model that ships, on 127.0.0.1
	$(BIN)/twins serve

test: .venv/installed-dev  ## runs all tests
	$(BIN)/python -m pytest

test-heavy: .venv/installed-dev  ## runs what is left out there: every published segmentation network at the sizes of photos
	$(BIN)/python -m pytest -m heavy

check: .venv/installed-dev  ## lints and type-checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: .venv/installed-dev  ## writes README's tables from the code, and the dashboard from its panels
	$(BIN)/python -m tests.tables
	$(BIN)/python -m tests.dashboard

# the virtual name puts the generated modules into service.pb, where they import each other
proto: .venv/installed-dev  ## generates service/pb from proto/
	$(BIN)/python -m grpc_tools.protoc --proto_path=service/pb=proto \
	    --python_out=. --pyi_out=. --grpc_python_out=. proto/twins/v1/twins.proto

prometheus: .venv/prometheus  ## fetches Debian's Prometheus for the tests; it is not installed, so no service starts

.venv/prometheus: | .venv/bin/python
	rm -rf $@ && mkdir -p $@.new
	cd $@.new && apt-get -o APT::Sandbox::User=root download -q prometheus && dpkg-deb --extract prometheus_*.deb .
	rm $@.new/*.deb && mv $@.new $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
