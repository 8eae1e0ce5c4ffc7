/*
 * Settings of the room, and the wake-up at commit.
 */
#include "postgres.h"

#include "core/launcher.h"
#include "core/utility.h"
#include "fmgr.h"
#include "generation/generation.h"
#include "generation/generation_int.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_wake_generation);
PG_FUNCTION_INFO_V1(musicverse_generation_worker);

int			mv_gen_concurrency = 64;
int			mv_gen_max_response_kb = 1024;

static int	generation_timeout = 30 * 60;
static int	max_queued_jobs = 100;
static char *public_url = NULL;

static bool
check_public_url(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0' || pg_strncasecmp(*newval, "https://", 8) == 0 || pg_strncasecmp(*newval, "http://", 7) == 0)
		return true;
	GUC_check_errdetail("\"%s\" is not a URL of http or https.", *newval);
	GUC_check_errhint("Give the address under which the API is reached from outside, such as https://api.example.com.");
	return false;
}

void
mv_generation_init(void)
{
	static const MvWorkerKind kind = {"generation worker", "mv_generation_worker_main", MV_PLACE_GENERATION, 1, mv_one_worker};

	DefineCustomIntVariable("musicverse.generation_timeout", "How long a job may take from when a provider was chosen for it.",
							"It fails then, and the provider is told to cancel it.",
							&generation_timeout, 30 * 60, 1, 7 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_queued_jobs", "Jobs of one user that may wait in the queue.",
							"generate() refuses more. 0 = any number.",
							&max_queued_jobs, 100, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.generation_concurrency", "Requests to providers that the worker has under way at most.",
							NULL, &mv_gen_concurrency, 64, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_provider_response", "Longest answer or callback of a provider that is read.",
							NULL, &mv_gen_max_response_kb, 1024, 1, 65536, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.public_url", "Address under which the API is reached from outside.",
							   "Providers are told to call back there. Empty: they are polled.",
							   &public_url, "", PGC_SIGHUP, 0, check_public_url, NULL, NULL);
	mv_launcher_add(&kind);
}

/* _wake_generation() */
Datum
musicverse_wake_generation(PG_FUNCTION_ARGS)
{
	mv_wake_place_at_commit(MV_PLACE_GENERATION);
	PG_RETURN_VOID();
}

/* _generation_worker() */
Datum
musicverse_generation_worker(PG_FUNCTION_ARGS)
{
	return mv_asker_told(fcinfo, &mv_gen_kind);
}
