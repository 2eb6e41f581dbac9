# Kindred. `make` builds, `make check` builds and tests, `make help` lists the rest.
#
# A folder is a layer and becomes one archive, build/VARIANT/libLAYER.a. The tests of a layer link
# its own archive and those below it and nothing else, so a call upwards does not link.
# Each variant has its own folder under build/; sources are found by wildcard, so a new file needs no
# line here. Nothing but make itself has to be installed before this file is read.

VARIANT ?= release
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
ARCH ?= $(shell uname -m)
VERSION := 0.1.0

BUILD ?= build
B := $(BUILD)/$(VARIANT)
# From the top down: the order in which archives are linked.
LAYERS := server engine core index catalog base

# ---- flags ----------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wswitch-enum -Wvla -Wformat=2 -Wundef -Werror
BASE_FLAGS := -std=gnu17 -g -D_GNU_SOURCE -I. -I$(B)/gen -fno-omit-frame-pointer $(WARNINGS)
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2

# gcc follows values only as far as it optimises: at -O1 it calls initialised variables uninitialised.
ifeq ($(findstring clang,$(CC)),)
QUIET_O1 := -Wno-maybe-uninitialized
endif

VARIANT_FLAGS_release := -O2 $(HARDENING)
VARIANT_FLAGS_checked := -O1 $(QUIET_O1) -DKINDRED_CHECKED
VARIANT_FLAGS_asan := -O1 $(QUIET_O1) -DKINDRED_CHECKED -fsanitize=address,undefined -fno-sanitize-recover=all
VARIANT_FLAGS_tsan := -O1 $(QUIET_O1) -DKINDRED_CHECKED -fsanitize=thread
# `make fuzz`, with clang: every object counts its branches.
VARIANT_FLAGS_fuzz := -O1 -DKINDRED_CHECKED -DKINDRED_FUZZ -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all
VARIANT_LINK_asan := -fsanitize=address,undefined
VARIANT_LINK_fuzz := -fsanitize=fuzzer,address,undefined
VARIANT_LINK_tsan := -fsanitize=thread
VARIANT_LINK_release := -Wl,-z,relro,-z,now

ifeq ($(filter $(VARIANT),release checked asan tsan fuzz),)
$(error VARIANT=$(VARIANT): it must be release, checked, asan, tsan or fuzz)
endif

CFLAGS ?=
LDFLAGS ?=
ALL_CFLAGS = $(BASE_FLAGS) $(VARIANT_FLAGS_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(VARIANT_LINK_$(VARIANT)) $(LDFLAGS)
LIBS := -Wl,--as-needed -lmicrohttpd -ljansson -lsqlite3 -lutf8proc -lroaring -lsodium -lcurl -lopenblas \
	-lm -lpthread
# Debian's static libcheck; elsewhere: make CHECK_LIBS="$(pkg-config --libs check)".
CHECK_LIBS ?= -lcheck_pic -lsubunit -lrt
TEST_LIBS = $(CHECK_LIBS) -lyaml

# A bench prints where its figures come from, so it is built again for each commit.
$(B)/obj/bench/%.o: private BASE_FLAGS += -include $(B)/gen/version.h

# Loops written for the compiler to turn into vectors: see core/nn/kernels_internal.h.
LOOPS := -O3 -fno-math-errno -fno-trapping-math
$(B)/obj/core/nn/kernels.o $(B)/obj64/core/nn/kernels.o $(B)/obj/core/nn/packed.o: private ISA := $(LOOPS)

# One file per instruction set, chosen at run time: only these see more than the platform's baseline.
ifneq ($(filter x86_64 amd64,$(ARCH)),)
$(B)/obj/base/vecmath_avx2.o: private ISA := -mavx2 -mfma -mf16c
$(B)/obj/base/vecmath_avx512.o: private ISA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
$(B)/obj/base/veccode_avx2.o: private ISA := -mavx2 -mfma
$(B)/obj/base/veccode_avx512.o: private ISA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma
$(B)/obj/base/veccode_avx512vnni.o: private ISA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma
$(B)/obj/core/nn/kernels_avx2.o $(B)/obj64/core/nn/kernels_avx2.o: private ISA := $(LOOPS) -mavx2 -mfma
$(B)/obj/core/nn/packed_avx2.o: private ISA := $(LOOPS) -mavx2 -mfma
$(B)/obj/core/nn/packed_avx512.o: private ISA := $(LOOPS) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma
endif

# ---- what there is --------------------------------------------------------------------------
sources = $(filter-out server/main.c,$(sort $(wildcard $(1)/*.c) $(wildcard $(1)/*/*.c)))
objects = $(patsubst %.c,$(B)/obj/%.o,$(1))

$(foreach l,$(LAYERS),$(eval OBJS_$(l) := $(call objects,$(call sources,$(l)))))
OBJS_catalog += $(B)/gen/migrations_sqlite.o
OBJS_core += $(B)/gen/general.o
OBJS_server += $(B)/gen/openapi.o
OBJS_support := $(call objects,$(call sources,tests/support))
# The differentiable ops once more with real_t = double, for the finite differences of tests/grad; packed products
# are for inference and in float only.
OBJS_core64 := $(patsubst %.c,$(B)/obj64/%.o,$(filter-out core/nn/packed%,$(sort $(wildcard core/nn/*.c))) \
	core/learn/infonce.c core/learn/distill.c core/learn/anchor.c)

ARCHIVES := $(LAYERS:%=$(B)/lib%.a)
BELOW_base := base
BELOW_core := core base
BELOW_grad := core64 base
BELOW_index := index base
BELOW_catalog := catalog base
BELOW_engine := engine core index catalog base
BELOW_server := $(LAYERS)
# The committed inputs of tests/fuzz, each once.
BELOW_fuzz := $(LAYERS)
# Against the binary: http in every run, slow only by check-kill and check-preload.
BELOW_http := $(LAYERS)
BELOW_slow := $(LAYERS)

TEST_GROUPS := $(foreach t,base core grad index catalog engine server fuzz http slow,\
	$(if $(call sources,tests/$(t)),$(t)))
$(foreach t,$(TEST_GROUPS),$(eval OBJS_test_$(t) := $(call objects,$(call sources,tests/$(t)))))
OBJS_test_grad := $(patsubst $(B)/obj/%,$(B)/obj64/%,$(OBJS_test_grad))
TEST_RUNNERS := $(patsubst %,$(B)/tests/test_%,$(filter-out slow,$(TEST_GROUPS)))
# The binary needs server/main.c; without it the libraries and their tests still build.
BINARY := $(if $(wildcard server/main.c),$(B)/kindred)
BENCHES := $(patsubst bench/bench_%.c,%,$(wildcard bench/bench_*.c))
# Each tests/fuzz/fuzz_X.c is a program of its own; other files there but tests are shared by all of them.
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
OBJS_fuzz := $(call objects,$(filter-out tests/fuzz/fuzz_% tests/fuzz/test_%,$(wildcard tests/fuzz/*.c)))
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
OBJS_bench := $(call objects,$(filter-out bench/bench_%.c,$(wildcard bench/*.c)))
COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# ---- entry points ---------------------------------------------------------------------------
.PHONY: all help deps deps-test tests run-tests check check-grad check-asan check-tsan check-oom check-kill check-preload check-learn \
	check-clients fuzz demo demo-learn format lint clean install FORCE
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
# As many jobs as there are cores, unless the caller said how many.
SUB = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))

all: $(ARCHIVES) $(BINARY)

help:
	@echo 'make                 build/release/kindred'
	@echo 'make demo            build, start a server, import a dictionary, search it (DEMO_ONESHOT=1: then stop)'
	@echo 'make demo-learn      import, search, retrain, compare, promote, roll back, in three minutes'
	@echo 'make check           lint, then every test, with lock-order and other run-time checks'
	@echo 'make check-grad      the differentiable ops against finite differences'
	@echo 'make check-asan      the tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make check-tsan      the tests under ThreadSanitizer'
	@echo 'make check-oom       tests that fail every allocation in turn'
	@echo 'make check-kill      kill -9 in the middle of an import, again and again'
	@echo 'make check-learn     train, promote, roll back under load; kill -9 at random moments of runs (20 minutes)'
	@echo 'make check-preload   is there an fdatasync between a write and its acknowledgement?'
	@echo 'make fuzz            libFuzzer, FUZZ_SECONDS=60 for each of: $(FUZZERS) (T="..." for some of them)'
	@echo 'make check-clients   the stock OpenAI clients of Python and Node'
	@echo 'make bench-NAME      NAME: $(BENCHES)'
	@echo 'make format lint clean install'
	@echo 'Variables: VARIANT=release|checked|asan|tsan BUILD=build CC= CFLAGS= PREFIX= DESTDIR= T="suite ..." (tests to run)'

# Installs Debian packages that are missing; says and does nothing when all are there.
deps:
	@tools/deps.sh build
deps-test:
	@tools/deps.sh build test

# The archives, the runners and the binary of one variant.
tests: $(ARCHIVES) $(BINARY) $(TEST_RUNNERS)
run-tests: tests
	@KINDRED_BIN=$(abspath $(BINARY)) tools/run_tests.sh $(B) $(TEST_RUNNERS) -- $(T)

check:
	@tools/deps.sh build test
	@$(SUB) lint
	@$(SUB) VARIANT=checked run-tests

check-grad: deps-test
	@$(SUB) VARIANT=checked $(BUILD)/checked/tests/test_grad
	@tools/run_tests.sh $(BUILD)/checked $(BUILD)/checked/tests/test_grad --

# What the sanitizers are told stands in tests/support/runner.c, so that a runner started by hand does the same.
check-asan:
	@tools/deps.sh build test
	@$(SUB) VARIANT=asan run-tests
check-tsan:
	@tools/deps.sh build test
	@$(SUB) VARIANT=tsan run-tests
# Under ASan, so that what a failed allocation leaves behind is seen.
check-oom:
	@tools/deps.sh build test
	@KINDRED_OOM=1 CK_INCLUDE_TAGS=oom $(SUB) VARIANT=asan run-tests

# These start the release server and treat it badly.
check-kill: deps-test
	@$(SUB) all $(B)/tests/test_slow
	@KINDRED_BIN=$(abspath $(BINARY)) tools/run_tests.sh $(B) $(B)/tests/test_slow -- kill
check-preload: deps-test
	@$(SUB) all $(B)/tests/test_slow $(B)/preload_trace.so
	@KINDRED_BIN=$(abspath $(BINARY)) KINDRED_TRACE_LIB=$(abspath $(B)/preload_trace.so) \
		tools/run_tests.sh $(B) $(B)/tests/test_slow -- fsync
# Learning under load: real items where diatheke and its texts are installed.
check-learn: deps-test
	@tools/deps.sh demo-learn
	@$(SUB) all $(B)/tests/test_slow $(B)/verses.ndjson
	@KINDRED_BIN=$(abspath $(BINARY)) KINDRED_ITEMS=$(abspath $(B)/verses.ndjson) \
		tools/run_tests.sh $(B) $(B)/tests/test_slow -- learn_load learn_kill
$(B)/verses.ndjson: tools/verses_ndjson.awk tools/verses.sh
	@tools/verses.sh $@
check-clients: deps-test
	@$(SUB) all
	@tools/check_clients.sh $(B)
# tests/fuzz/README.md
fuzz:
	@tools/deps.sh build fuzz
	@$(SUB) VARIANT=fuzz CC=$(FUZZ_CC) $(FUZZERS:%=$(BUILD)/fuzz/fuzz_%)
	@tools/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS) $(or $(T),$(FUZZERS))
demo:
	@tools/deps.sh build demo
	@$(SUB) all $(B)/bench_search
	@DEMO_ONESHOT=$(DEMO_ONESHOT) tools/demo.sh $(B)
demo-learn:
	@tools/deps.sh build demo-learn
	@$(SUB) all
	@DEMO_ONESHOT=$(DEMO_ONESHOT) tools/demo_learn.sh $(B)

FORMAT_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h' 2>/dev/null)
format:
	clang-format -i $(FORMAT_FILES)
lint:
	@tools/check_deps.sh
	@tools/check_style.sh
	@if command -v clang-format >/dev/null 2>&1; then \
		clang-format --dry-run -Werror $(FORMAT_FILES) && echo 'format: ok'; \
	else echo 'format: clang-format is not installed, not checked'; fi

bench-%: $(B)/bench_%
	$< $(ARGS)
# With MODEL=FOLDER of a BERT encoder: against the peers that PYTHON has (bench/peers/install.sh).
PYTHON ?= python3
THREADS ?= 1 2
ifneq ($(MODEL),)
bench-encode: $(B)/bench_encode_bert
	$< --model '$(MODEL)' --threads '$(THREADS)' --python '$(PYTHON)' $(if $(FILE),--file '$(FILE)') $(ARGS)
bench-train: $(B)/bench_train
	$< --model '$(MODEL)' --threads '$(THREADS)' --python '$(PYTHON)' $(ARGS)
endif

# The index beside other libraries: those of bench/peers/index_* that can be built or that PYTHON has. DATA is
# made by bench-index-data, which downloads Debian packages and needs the Python of bench/peers/install.sh. Rows and
# picture of the run stay in docs/, unless ARGS names other files.
DATA ?= $(BUILD)/bench-data
bench-index: $(B)/bench_index bench-index-hnswlib
	$< --data-dir '$(DATA)' --python '$(PYTHON)' --csv docs/index-bench.csv --svg docs/index-bench.svg $(ARGS)
bench-index-data: all $(B)/bench_index_embed
	@bench/index_data/make.sh '$(DATA)' $(B) '$(PYTHON)'
HNSWLIB_VERSION = $(shell dpkg-query -W -f '$${source:Upstream-Version}' libhnswlib-dev 2>/dev/null || echo unknown)
.PHONY: bench-index-hnswlib bench-index-data
bench-index-hnswlib: $(B)/libbase.a $(OBJS_bench)
	@if echo '#include <hnswlib/hnswlib.h>' | $(CXX) -E -x c++ - >/dev/null 2>&1; then \
		$(SUB) $(B)/index_hnswlib; \
	else echo 'hnswlib is left out: no $(CXX), or no hnswlib/hnswlib.h (tools/deps.sh bench)'; fi
$(B)/index_hnswlib: bench/peers/index_hnswlib.cpp bench/index_worker.h bench/index_data.h $(B)/obj/bench/index_worker.o \
		$(B)/obj/bench/index_data.o $(B)/libbase.a
	@echo '  CXX   $<'
	@$(CXX) -std=c++17 -O3 -march=native -DNDEBUG -I. -DHNSWLIB_VERSION='"$(HNSWLIB_VERSION)"' -o $@ $(filter-out %.h,$^) -lm -lpthread

clean:
	rm -rf $(BUILD)

install: INSTALL_ROOT = $(abspath $(DESTDIR)$(PREFIX))
install: all
	install -d '$(INSTALL_ROOT)/bin' '$(INSTALL_ROOT)/share/kindred/models'
	install -m 755 $(BINARY) '$(INSTALL_ROOT)/bin/kindred'
	set -e; cd models; for m in */config.json; do [ -f "$$m" ] || continue; m=$${m%/*}; \
		find "$$m" -type d -exec install -d '$(INSTALL_ROOT)/share/kindred/models/{}' \; \
			-o -type f -exec install -m 644 {} '$(INSTALL_ROOT)/share/kindred/models/{}' \; ; \
	done

# ---- rules ----------------------------------------------------------------------------------
# Text that changes only when its content does, so that what depends on it is rebuilt then, and only then.
define keep_if_same
@mkdir -p $(@D)
@printf '%s\n' $(1) | cmp -s - $@ || printf '%s\n' $(1) >$@
endef

# Other compiler or flags: everything again.
$(B)/flags: FORCE
	$(call keep_if_same,'$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)')
# Other set of files: the archive again.
$(B)/%.list: FORCE
	$(call keep_if_same,'$(OBJS_$*)')
$(B)/gen/version.h: FORCE
	$(call keep_if_same,'#define KINDRED_VERSION "$(VERSION)"' '#define KINDRED_COMMIT "$(COMMIT)"')

$(B)/obj/%.o: %.c $(B)/flags | $(B)/gen/version.h
	@mkdir -p $(@D)
	@echo '  CC    $<'
	@$(CC) $(ALL_CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

$(B)/obj64/%.o: %.c $(B)/flags | $(B)/gen/version.h
	@mkdir -p $(@D)
	@echo '  CC    $< (double)'
	@$(CC) $(ALL_CFLAGS) $(ISA) -DKINDRED_REAL_DOUBLE -MMD -MP -c -o $@ $<

$(B)/gen/%.o: $(B)/gen/%.c $(B)/flags
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/gen/migrations_sqlite.c: tools/embed.sh $(sort $(wildcard migrations/sqlite/*.sql)) $(B)/migrations.list
	@mkdir -p $(@D)
	@tools/embed.sh embedded_migrations_sqlite $(filter %.sql,$^) >$@
$(B)/gen/general.c: tools/embed.sh core/eval/general.tsv
	@mkdir -p $(@D)
	@tools/embed.sh embedded_general $(filter %.tsv,$^) >$@
$(B)/gen/openapi.c: tools/embed.sh $(wildcard openapi.yaml) $(B)/openapi.list
	@mkdir -p $(@D)
	@tools/embed.sh embedded_openapi $(filter %.yaml,$^) >$@
OBJS_migrations := $(sort $(wildcard migrations/sqlite/*.sql))
OBJS_openapi := $(wildcard openapi.yaml)

define archive_rule
$(B)/lib$(1).a: $(OBJS_$(1)) $(B)/$(1).list
	@echo '  AR    $$@'
	@rm -f $$@
	@$(AR) rcs $$@ $$(filter %.o,$$^)
endef
$(foreach l,$(LAYERS) support core64,$(eval $(call archive_rule,$(l))))

define runner_rule
$(B)/tests/test_$(1): $(OBJS_test_$(1)) $(B)/libsupport.a $(BELOW_$(1):%=$(B)/lib%.a) $(B)/test_$(1).list
	@mkdir -p $$(@D)
	@echo '  LD    $$@'
	@$(CC) $(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) $(TEST_LIBS) $(LIBS)
endef
$(foreach t,$(TEST_GROUPS),$(eval $(call runner_rule,$(t))))

$(B)/kindred: $(B)/obj/server/main.o $(ARCHIVES)
	@echo '  LD    $@'
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# Loaded into a server by the slow checks.
$(B)/preload_trace.so: tools/preload_trace.c $(B)/flags
	@echo '  LD    $@'
	@$(CC) $(ALL_CFLAGS) -fPIC -shared -o $@ $< -ldl

# Each bench_X.c is a program of its own; other files in bench/ are shared by all of them.
$(B)/bench_%: $(B)/obj/bench/bench_%.o $(OBJS_bench) $(filter-out $(B)/libserver.a,$(ARCHIVES))
	@echo '  LD    $@'
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)
$(B)/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(OBJS_fuzz) $(BELOW_fuzz:%=$(B)/lib%.a)
	@echo '  LD    $@'
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)
.PRECIOUS: $(B)/obj/%.o $(B)/obj64/%.o $(B)/gen/%.c $(B)/bench_%

-include $(patsubst %.o,%.d,$(foreach l,$(LAYERS) support core64,$(OBJS_$(l))) \
	$(foreach t,$(TEST_GROUPS),$(OBJS_test_$(t))) $(OBJS_bench) \
	$(B)/obj/server/main.o $(BENCHES:%=$(B)/obj/bench/bench_%.o))
