# musicverse: build with PGXS. `make help` lists the targets.

EXTENSION    = musicverse
EXTVERSION   = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" musicverse.control)
MODULE_big   = musicverse
OBJS         = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
# The order of the rooms is the order of their dependencies
SQL_PARTS    = $(patsubst %,sql/install/%.sql,\
               head core core_guard accounts keys_tables keys_usage webhooks_tables webhooks_sign webhooks_enqueue \
               generation_providers generation generation_tracks generation_work generation_callback webhooks_types webhooks webhooks_deliveries webhooks_sending \
               media media_turns distribution_identifiers distribution_ern distribution_covers distribution_tables distribution_check distribution_ddex distribution_partners distribution distribution_work distribution_acknowledgements distribution_verifier distribution_files distribution_accounts distribution_sign_outs distribution_labelgrid distribution_soundcloud distribution_packages distribution_sheet distribution_itmsp distribution_handover distribution_callback distribution_dsr distribution_reports distribution_stats distribution_sync keys_limits keys_signature keys \
               api_routes keys_pre_request api_dispatch api_gateway api_core api_operations api_operations_webhooks api_operations_accounts api_operations_distribution api_operations_partners api_openapi api_v1 api_v2 api_rpc api_schemas api_catalogue access api_role foot)
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA         = $(wildcard sql/upgrade/*--*--*.sql)

PG_CONFIG   ?= pg_config
PKG_CONFIG  ?= pkg-config
ifeq ($(CI),true)
WERROR      ?= -Werror
endif
PG_CPPFLAGS  = -I$(srcdir)/src -DMV_VERSION='"$(EXTVERSION)"' $(shell $(PKG_CONFIG) --cflags libcurl libcrypto libmicrohttpd libxml-2.0 libarchive pangocairo pangoft2 libpng libjpeg sndfile zlib)
PG_CFLAGS    = -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement $(WERROR)
SHLIB_LINK   = $(shell $(PKG_CONFIG) --libs libcurl libcrypto libmicrohttpd libxml-2.0 libarchive pangocairo pangoft2 libpng libjpeg sndfile zlib)
EXTRA_CLEAN  = sql/$(EXTENSION)--$(EXTVERSION).sql $(OBJS:.o=.bc) build

srcdir ?= .
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(PGXS),)
include $(PGXS)
else
# A machine that test/setup has yet to see: only the targets that call it work.
all install clean: ; @echo "$(PG_CONFIG) not found: install postgresql-server-dev-15, or run 'make test', which does" >&2; exit 1
endif

$(OBJS): $(wildcard src/*.h src/*/*.h)

# The documentation page, which the gateway serves at / and /docs, each file with its compressed twin
WEB          = $(DESTDIR)$(datadir)/musicverse/web
install: install-web
uninstall: uninstall-web
.PHONY: install-web uninstall-web
install-web:
	$(MKDIR_P) '$(WEB)/docs'
	$(INSTALL_DATA) $(srcdir)/web/index.html '$(WEB)/'
	$(INSTALL_DATA) $(srcdir)/web/index.html $(wildcard $(srcdir)/web/docs/*) '$(WEB)/docs/'
	for file in '$(WEB)'/*.html '$(WEB)'/docs/*.html '$(WEB)'/docs/*.css '$(WEB)'/docs/*.js '$(WEB)'/docs/*.svg; do gzip -9nkf "$$file"; done
uninstall-web:
	rm -rf '$(WEB)'

sql/$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) musicverse.control Makefile
	cat $(SQL_PARTS) > $@

# --- what developers and CI call: each sets up what it needs -------------

# The private server tree: nothing below installs into the system's own.
# No bitcode there: the tests never inline it, and it would double the build.
TREE         = $(CURDIR)/build/pg
JOBS        ?= $(shell nproc)
submake      = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) with_llvm=no

.PHONY: setup private test demo bench soak lint dist help

setup:
	@test/setup test

private:
	@$(submake) -s all
	@test ! -d "$(TREE)" || test -e "$(TREE)`$(PG_CONFIG) --sharedir`/extension/pgtap.control" || rm -rf "$(TREE)"
	@sh test/pgtree.sh "$(TREE)"
	@$(submake) -s install DESTDIR="$(TREE)"

# make test T=test/t/010_x.pl, T=sql/sign.sql, or several in quotes
T           ?=
test: setup
	@$(MAKE) --no-print-directory private
	@test/as-server test/run $(T)

# make demo KEEP=1 leaves the servers running until Ctrl-C
demo:
	@test/setup demo
	@$(MAKE) --no-print-directory private
	@test/as-server $(or $(wildcard sandbox/demo),$(firstword $(wildcard sandbox/demo.*)),sandbox/demo)

bench:
	@test/setup test bench
	@$(MAKE) --no-print-directory private
	@$(submake) -s -C bench/bare_gateway install DESTDIR="$(TREE)"
	@test/as-server $(or $(wildcard bench/run),$(firstword $(wildcard bench/run.*)),bench/run) $(B)

# The slow tests: test/soak/*.pl, each with an hour at most
soak:
	@test/setup test soak
	@$(MAKE) --no-print-directory private
	@test/as-server test/run $(or $(T),--soak)

lint:
	@test/setup test lint
	@test/lint

# The archive that PGXN takes: what is committed, with META.json on top
dist:
	git archive --format zip --prefix=$(EXTENSION)-$(EXTVERSION)/ -o $(EXTENSION)-$(EXTVERSION).zip HEAD

help:
	@echo 'make            build the extension for the server of PG_CONFIG ($(PG_CONFIG))'
	@echo 'make install    install it there'
	@echo 'make test       set up, build, and run every test in private clusters under build/'
	@echo '                T=FILE runs one: T=sql/x.sql, T=test/isolation/specs/x.spec, T=test/pgtap/x.sql, T=test/t/x.pl'
	@echo 'make demo       set up, build, and watch: webhooks, music made through the API, its release on three platforms; KEEP=1 leaves it up'
	@echo 'make bench      set up, build, and measure; B=NAME for one benchmark'
	@echo 'make soak       the long tests; T=FILE for one'
	@echo 'make lint       layout, static analysis, comments and search_path of the SQL, META.json'
	@echo 'make dist       the zip archive of the last commit for PGXN'
	@echo 'make clean      remove everything that was built'
