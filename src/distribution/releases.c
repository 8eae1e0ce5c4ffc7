/*
 * Settings of the worker, and the wake-up at commit.
 */
#include "postgres.h"

#include "core/launcher.h"
#include "core/utility.h"
#include "distribution/dsr.h"
#include "distribution/releases.h"
#include "distribution/releases_int.h"
#include "fmgr.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_time_zone_is_known);
PG_FUNCTION_INFO_V1(musicverse_wake_distribution);
PG_FUNCTION_INFO_V1(musicverse_distribution_worker);

int			mv_dist_concurrency = 64;
int			mv_dist_max_response_kb = 1024;
int			mv_dist_poll_interval_s = 5 * 60;

static bool inspect_audio = true;
static int	analytics_interval = 6 * SECS_PER_HOUR;
static int	release_lead_time = 7 * SECS_PER_DAY;

void
mv_releases_init(void)
{
	static const MvWorkerKind kind = {"distribution worker", "mv_distribution_worker_main", MV_PLACE_DISTRIBUTION, 1, mv_one_worker};

	DefineCustomIntVariable("musicverse.release_lead_time", "How long before its release date a release is delivered.",
							"For platforms whose lead_time says nothing. A release date that is nearer is refused.",
							&release_lead_time, 7 * SECS_PER_DAY, 0, 365 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.distribution_poll_interval", "How often partners are asked what became of a release.",
							"Of a partner whose config has no poll_interval.",
							&mv_dist_poll_interval_s, 5 * 60, 1, SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.analytics_interval", "How often partners are asked how releases were heard.",
							"Of a partner whose config has no analytics_interval.",
							&analytics_interval, 6 * SECS_PER_HOUR, 60, 7 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.distribution_concurrency", "Requests to partners that the worker has under way at most.",
							NULL, &mv_dist_concurrency, 64, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_partner_response", "Longest answer or callback of a partner that is read.",
							NULL, &mv_dist_max_response_kb, 1024, 1, 65536, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("musicverse.inspect_audio", "Looks at the audio of releases before partners get it.",
							 "What is at its URL is fetched for that, once.",
							 &inspect_audio, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_report", "Largest sales report that is fetched, and most that a packed one may come to.",
							"What is put into import_dsr() and is not packed has no limit but the memory.",
							&dsr_max_report_kb, 4 * 1024 * 1024, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	mv_launcher_add(&kind);
}

/* _wake_distribution() */
Datum
musicverse_wake_distribution(PG_FUNCTION_ARGS)
{
	mv_wake_place_at_commit(MV_PLACE_DISTRIBUTION);
	PG_RETURN_VOID();
}

/* _distribution_worker() */
Datum
musicverse_distribution_worker(PG_FUNCTION_ARGS)
{
	return mv_asker_told(fcinfo, &mv_dist_kind);
}

/*
 * _time_zone_is_known(name text): as its file is written. What else the server
 * takes, such as POSIX's rules, would mean the contrary of what people think;
 * those come out in capitals, and have digits.
 */
Datum
musicverse_time_zone_is_known(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pg_tz	   *zone = pg_tzset(name);
	bool		is_rule = strpbrk(name, "0123456789") != NULL && strpbrk(name, "abcdefghijklmnopqrstuvwxyz") == NULL;

	PG_RETURN_BOOL(zone != NULL && !is_rule && strcmp(pg_get_timezone_name(zone), name) == 0);
}
