SHELL := /bin/bash
.DEFAULT_GOAL := help

FUZZTIME ?= 10s
# The large proofs, a kill at every point of each fate, each fate whatever is heard, a closure at each hour of a year, long outages, the
# broker's cases, the restore drill and crowds of closures against the broker's limit, run without the race detector, which would multiply their
# minutes of CPU; what they run concurrently, others run under it. So does what counts allocations, to which the detector adds its own.
PROOFS := ^(TestFates|TestFatesWhateverIsHeard|TestEachHourOfAYear|TestAnOutageOfElevenHours|TestBrokerCases|TestAfterARestoreNothingIsDoneTwice|TestACrowd.*|TestWhatAVisitAllocates)$$
# What an image is called and what it says of itself: the commit's name, with -dirty where more than that is in it.
VERSION ?= $(shell git describe --tags --always --dirty)
LINT := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint

.PHONY: help
help: ## Say what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start everything in one process, with demo accounts; ARGS="--day 5s" is passed on
	go run ./cmd/closeout dev $(ARGS)

.PHONY: test
test: ## Run the tests with the race detector
	@scripts/need.sh
	CGO_ENABLED=1 go test -race -timeout 40m -skip '^TestReal|$(PROOFS)' ./...
	go test -timeout 25m -run '$(PROOFS)' ./cmd/closeout ./handlers ./budget ./internal/auditor
	go test -timeout 25m ./internal/simulation
	go -C deploy/checks test -count=1 -skip '^TestReal' ./... # a cached pass would not see that a file outside of its module has changed

.PHONY: test-real
test-real: ## Run the tests that need real servers (TestReal...)
	@scripts/need.sh
	@scripts/test-real.sh

.PHONY: simulate
simulate: ## Live SEEDS (1000) lives in virtual time under faults of every kind; SEED=s lives one again, told in full
	@SEEDS=$(or $(SEEDS),1000) SEED=$(SEED) FAULTS=$(FAULTS) WITHOUT="$(WITHOUT)" go test -count=1 -timeout 0 -run '^TestSimulate$$' -v ./internal/simulation

.PHONY: chaos
chaos: ## 2,000 closures on real servers while workers, servers and the network break, and then an audit (CLOSURES=n)
	@scripts/need.sh
	go test -count=1 -timeout 60m -run '^TestRealChaos$$' -v ./cmd/closeout -args -chaos $(or $(CLOSURES),2000)

.PHONY: upgrade
upgrade: ## Closures under way while a version of before, FROM=<git ref>, is replaced by this one, is put back, and is replaced again (CLOSURES=n)
	@scripts/need.sh
	@[[ -n "$(FROM)" ]] || { echo "make upgrade needs the version to begin from: make upgrade FROM=<git ref>" >&2; exit 1; }
	go test -count=1 -timeout 60m -run '^TestRealUpgrade$$' -v ./cmd/closeout -args -from "$(FROM)" -upgraded $(or $(CLOSURES),300)

.PHONY: crowd
crowd: ## 100,000 closures due within an hour against 1,000 calls a minute, in virtual time (CROWD=n)
	GOMEMLIMIT=3GiB CROWD=$(or $(CROWD),100000) go test -count=1 -timeout 60m -run '^TestACrowdAgainstTheLimit$$' -v ./budget

.PHONY: pages
pages: ## How long the console's pages take over 100,000 closures, on SQLite and on Postgres (CLOSURES=n)
	@scripts/need.sh
	go test -count=1 -timeout 60m -run '^TestRealConsoleIsFast$$' -v ./console -args -closures $(or $(CLOSURES),100000)

.PHONY: bench
bench: ## What a closure costs, beside a bare Asynq chain, on real servers and embedded; and how workers scale (CLOSURES=n); how late what is due at once is (DUE=n, 10,000)
	@scripts/need.sh
	go test -count=1 -timeout 60m -run '^TestRealBench$$' -v ./cmd/closeout -args -bench $(or $(CLOSURES),2000) -due $(or $(DUE),10000)

.PHONY: benchmark
benchmark: ## Go's benchmarks of a visit, Save, Schedule, the sweep and the board, as benchstat reads them (COUNT=n, BENCH=Visit for those of a name)
	@scripts/need.sh
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),10) -timeout 60m ./handlers ./ledger ./tasks

.PHONY: growth
growth: ## What sweep, board, list, initiate and visit cost with 10,000, 100,000 and more closures that wait, and how much memory they take (CLOSURES=n)
	@scripts/need.sh
	go test -count=1 -timeout 120m -run '^TestRealGrowth$$' -v ./cmd/closeout -args -growth $(or $(CLOSURES),1000000)

.PHONY: images
images: ## Make the README's pictures of the console anew
	@scripts/need.sh
	go test -count=1 -timeout 10m -run '^TestBrowserPictures$$' ./cmd/closeout -args -images $(CURDIR)/docs/images

.PHONY: batch
batch: ## A batch of 10,000 accounts on real servers: a dry run, the start, and each closure to its end (BATCH=n); a day takes 120 s
	@scripts/need.sh
	go test -count=1 -timeout 60m -run '^TestRealBatch$$' -v ./cmd/closeout -args -batch $(or $(BATCH),10000)

.PHONY: released
released: ## Write down what the release RELEASE=x.y.z asks its databases and leaves behind, once, for all later ones to live with
	@scripts/need.sh
	go test -count=1 -timeout 30m -run '^(TestSQLite|TestPostgres)$$/.*' ./ledger -args -release $(RELEASE)
	go test -count=1 -timeout 30m -run '^TestAReleasedVersionsHistoryGoesOn$$' ./handlers -args -release $(RELEASE)

.PHONY: guards
guards: ## Take each of the service's guards out in turn and see a test miss it; GUARDS=gate for those of a name
	@scripts/need.sh
	GUARDS="$(or $(GUARDS),all)" go test -count=1 -timeout 0 -run '^TestGuards$$' -v ./internal/guards

.PHONY: lint
lint: ## Check the code: linters, import arrows, formatting (the first run builds the linter: minutes)
	$(LINT) run ./...
	cd deploy/checks && $(LINT) run ./...

.PHONY: format
format: ## Format the code as lint wants it
	$(LINT) fmt ./...
	cd deploy/checks && $(LINT) fmt ./...

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

.PHONY: generate
generate: ## Rewrite what is generated
	go generate ./...

.PHONY: build
build: ## Build bin/closeout
	CGO_ENABLED=0 go build -trimpath -o bin/closeout ./cmd/closeout

.PHONY: image
image: ## Build the container image closeout:VERSION (git describe), by BuildKit; for another machine than this by PLATFORM=linux/amd64
	docker buildx build --load $(if $(PLATFORM),--platform $(PLATFORM)) -f deploy/Dockerfile --build-arg VERSION=$(VERSION) -t closeout:$(VERSION) .

.PHONY: tidy-check
tidy-check: ## Check that every go.mod lists what is used, and change nothing
	go mod tidy -diff
	go -C tools mod tidy -diff
	go -C deploy/checks mod tidy -diff
