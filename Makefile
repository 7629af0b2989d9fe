# plyfs: build, checks and installation. `make help` lists the targets.

VERSION = 0.1.0

PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
MANDIR  ?= $(PREFIX)/share/man

# A variant has a tree of its own: build/debug, build/address, build/debug-thread, ...
variant := $(if $(DEBUG),debug )$(SANITIZE)
empty   :=
space   := $(empty) $(empty)
BUILD   ?= build$(if $(strip $(variant)),/$(subst $(space),-,$(strip $(variant))))
OBJ     := $(BUILD)/obj

OPT       = $(if $(DEBUG),-O0 -g -DPLY_DEBUG,-O2 -g)
SANFLAGS  = $(if $(SANITIZE),$(SANITIZE:%=-fsanitize=%) -fno-omit-frame-pointer)
WARNINGS  = -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes \
	    -Wmissing-prototypes -Wwrite-strings -Wvla -Werror
CFLAGS   ?= $(OPT)
ALL_CFLAGS  = -std=gnu11 -Ifs -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DPLY_VERSION='"$(VERSION)"' \
	      $(CPPFLAGS) $(CFLAGS) $(WARNINGS) $(SANFLAGS) -pthread
ALL_LDFLAGS = $(LDFLAGS) $(SANFLAGS) -pthread

FUSE_CFLAGS := -DFUSE_USE_VERSION=314 $(shell pkg-config --cflags fuse3 2>/dev/null)
FUSE_LIBS   := $(shell pkg-config --libs fuse3 2>/dev/null || echo -lfuse3)
CRYPTO_LIBS := $(shell pkg-config --libs libcrypto 2>/dev/null || echo -lcrypto)
XXH_LIBS    := $(shell pkg-config --libs libxxhash 2>/dev/null || echo -lxxhash)

Q := $(if $(V),,@)

# What is there to build. Every list may be empty.
objects = $(patsubst %.c,$(OBJ)/%.o,$(1))

lib_src    := $(wildcard fs/base/*.c fs/layer/*.c fs/union/*.c)
option_src := $(wildcard fs/option*.c)
wire_src   := $(wildcard fs/main.c fs/wire/*.c) $(option_src)
common_src := $(wildcard tools/common/*.c)
tool_src   := $(wildcard tools/plyfs-*.c)
diff_src   := $(wildcard tests/diff/*.c)

LIB      := $(BUILD)/libply.a
COMMON   := $(OBJ)/tools/common.a
plyfs    := $(if $(wildcard fs/main.c),$(BUILD)/plyfs)
tools    := $(patsubst tools/%.c,$(BUILD)/%,$(tool_src))
programs := $(plyfs) $(tools)
plydiff  := $(if $(diff_src),$(BUILD)/tests/plydiff)
recorder := $(BUILD)/tests/recorder

# tests/SUITE/test_X.c is a program of its own; the suite's other files are linked into each of them, the command line into unit's.
suites      := unit mount crash fuzz bench
suite_tests  = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/test_*.c))
suite_common = $(call objects,$(filter-out tests/$(1)/test_% tests/crash/recorder.c,$(wildcard tests/$(1)/*.c)) \
		$(if $(filter unit,$(1)),$(option_src)))
test_programs := $(foreach s,$(suites),$(call suite_tests,$(s))) $(plydiff) $(recorder)

man_src := $(wildcard docs/*.1.scd docs/*.8.scd)
man     := $(if $(shell command -v scdoc),$(patsubst docs/%.scd,$(BUILD)/man/%,$(man_src)))

.PHONY: all lib tests-build check check-all check-sanitizers demo bench bench-requests deps format clean help \
	install uninstall install-alias FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: $(LIB) $(programs) $(man)

lib: $(LIB)

tests-build: all $(test_programs)

# ---- objects and programs ----

# Holds the compiler's command line, so that a change of flags or version rebuilds everything.
flags := $(subst ','\'',$(CC) $(ALL_CFLAGS) $(FUSE_CFLAGS))
$(OBJ)/flags: FORCE
	@mkdir -p $(@D)
	@pkg-config --exists fuse3 libxxhash libcrypto || { \
		echo "plyfs is built with libfuse3, libxxhash, libcrypto and uthash: run 'make deps' as root, or install" >&2; \
		echo "libfuse3-dev libxxhash-dev libssl-dev uthash-dev pkg-config (Debian's names)." >&2; exit 1; }
	@printf '%s\n' '$(flags)' | cmp -s - $@ || printf '%s\n' '$(flags)' >$@

$(OBJ)/%.o: %.c $(OBJ)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) $(ROOM_CFLAGS) -MMD -MP -c -o $@ $<

# Only the wire and the program on top of it know FUSE.
$(call objects,$(wire_src)): ROOM_CFLAGS = $(FUSE_CFLAGS)
$(call objects,tests/crash/recorder.c tests/fuzz/test_wire.c): ROOM_CFLAGS = $(FUSE_CFLAGS)

$(LIB): $(call objects,$(lib_src))
$(COMMON): $(call objects,$(common_src))
$(LIB) $(COMMON):
	@mkdir -p $(@D)
	@echo "  AR    $@"
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/plyfs: $(call objects,$(wire_src)) $(LIB)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(FUSE_LIBS) $(XXH_LIBS)

# Only the tools that ask for digests are linked with what computes them.
$(BUILD)/plyfs-seal $(BUILD)/plyfs-snapshot: TOOL_LIBS = $(CRYPTO_LIBS)
$(tools): $(BUILD)/%: $(OBJ)/tools/%.o $(COMMON) $(LIB)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TOOL_LIBS) $(XXH_LIBS)

$(BUILD)/tests/plydiff: $(call objects,$(diff_src)) $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(XXH_LIBS)

$(recorder): $(call objects,tests/crash/recorder.c)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(FUSE_LIBS)

# Fuzzers are linked with all but main: the wire, the options, and what tools read.
fuzz_objects := $(call objects,$(filter-out fs/main.c,$(wire_src))) $(COMMON)

define suite_rules
$(call suite_tests,$(1)): $(BUILD)/%: $(OBJ)/%.o $(call suite_common,$(1)) $($(1)_objects) $(LIB)
	@mkdir -p $$(@D)
	@echo "  LD    $$@"
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ -lcmocka $$($(1)_libs) $$(XXH_LIBS)
endef
fuzz_libs = $(FUSE_LIBS) $(CRYPTO_LIBS)
$(foreach s,$(suites),$(if $(call suite_tests,$(s)),$(eval $(call suite_rules,$(s)))))

$(BUILD)/man/%: docs/%.scd
	@mkdir -p $(@D)
	@echo "  MAN   $@"
	$(Q)scdoc <$< >$@

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# ---- checks: everything runs through tests/run, one line a test and a closing count ----

run_tests = $(if $(filter thread,$(SANITIZE)),setarch -R )tests/run --build $(BUILD)

# In a make of its own, so that what deps has just installed is seen; on all processors unless told.
submake = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

check check-all: deps
	+@$(submake) tests-build
	@$(run_tests) $(if $(filter check-all,$@),--long)
	+@$(if $(filter check-all,$@),$(submake) check-sanitizers)

check-sanitizers:
	+@for s in address thread; do for g in unit mount tools; do \
		$(submake) SANITIZE=$$s check-$$g || exit 1; done; done
	+@$(submake) SANITIZE='address undefined' check-fuzz

groups := rooms style unit mount tools diff crash fuzz work runtime requests cases
.PHONY: $(addprefix check-,$(groups))
check-rooms: all
$(addprefix check-,$(filter-out rooms style,$(groups))): tests-build
$(addprefix check-,$(groups)):
	@$(run_tests) $(if $(LONG),--long) $(patsubst check-%,%,$@)$(if $(T),/$(T))

demo:
	@tests/deps demo
	+@$(submake) all
	@PLYFS=$(BUILD)/plyfs tests/demo.sh

# BENCHFLAGS: see tests/bench/run --help; --quick for a first look.
bench: all
	PLYFS=$(BUILD)/plyfs tests/bench/run $(BENCHFLAGS)

bench-requests: all
	PLYFS=$(BUILD)/plyfs tests/bench/requests

deps:
	@tests/deps check

# F=FILES formats only these.
F = $(shell find fs tools tests -name '*.[ch]' -not -path 'tests/gates/fixtures/*')
format:
	clang-format -i $(F)

# ---- installation ----

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8
	install -m 755 $(programs) $(DESTDIR)$(BINDIR)
	for m in $(man); do install -m 644 $$m $(DESTDIR)$(MANDIR)/man$${m##*.}/ || exit 1; done

# For programs that look for fuse-overlayfs by its name.
install-alias: install
	ln -sf plyfs $(DESTDIR)$(BINDIR)/fuse-overlayfs

# The alias goes only if it is ours.
uninstall:
	rm -f $(patsubst $(BUILD)/%,$(DESTDIR)$(BINDIR)/%,$(programs))
	rm -f $(foreach m,$(man_src:docs/%.scd=%),$(DESTDIR)$(MANDIR)/man$(lastword $(subst ., ,$(m)))/$(m))
	@alias=$(DESTDIR)$(BINDIR)/fuse-overlayfs; \
	if [ "$$(readlink "$$alias")" = plyfs ]; then rm -f "$$alias"; fi

clean:
	rm -rf build

help:
	@echo 'make                     plyfs and its tools, in build/'
	@echo 'make demo                a tour on a real stack; as root it installs what it needs (apt)'
	@echo 'make check               all tests; as root it installs what they need (apt)'
	@echo 'make check-all           the same with the long runs'
	@echo 'make check-GROUP [T=x]   one group, or its tests named like x; groups:'
	@echo '                         $(groups)'
	@echo 'make bench               measurements against other file systems'
	@echo 'make bench-requests      the tested numbers: requests by workload'
	@echo 'make install             to DESTDIR, PREFIX=/usr/local; also uninstall'
	@echo 'make install-alias       and a link called fuse-overlayfs'
	@echo 'make format [F=FILES]    clang-format, in place'
	@echo 'make deps, clean'
	@echo 'V=1                      shows the commands'
	@echo 'DEBUG=1                  not optimised, with assertions, in build/debug'
	@echo 'SANITIZE=address|thread|undefined   in build/address, ...'
