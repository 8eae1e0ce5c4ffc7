/*
 * Table of contents: what is set up when the library is loaded, room by room.
 *
 * Loaded by shared_preload_libraries everything works. Loaded later by a
 * session, events are recorded all the same, but no worker can be started and
 * what needs shared memory says so.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "api/api.h"
#include "core/caller.h"
#include "core/asker.h"
#include "core/clock.h"
#include "core/guard.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "core/proxies.h"
#include "core/seal.h"
#include "core/shared.h"
#include "core/transfer.h"
#include "distribution/distribution.h"
#include "distribution/package.h"
#include "distribution/releases.h"
#include "generation/generation.h"
#include "keys/keys.h"
#include "media/media.h"
#include "webhooks/event.h"
#include "webhooks/worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	mv_shared_init();
	mv_clock_init();
	mv_installation_init();
	mv_seal_init();
	mv_guard_init();
	mv_proxies_init();
	mv_transfer_init();
	mv_launcher_init();
	mv_asker_init();

	mv_keys_init();

	mv_event_init();
	mv_worker_init();
	mv_generation_init();
	mv_media_init();
	mv_distribution_init();
	mv_packages_init();
	mv_releases_init();

	mv_api_init();

	MarkGUCPrefixReserved("musicverse");
}
