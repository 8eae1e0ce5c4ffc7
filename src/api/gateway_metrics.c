/*
 * What is counted in shared memory, as Prometheus reads it, and what of it
 * tells whether all is well. No table is read, so any process can tell at any
 * time, for the whole server.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "api/gateway_int.h"
#include "core/clock.h"
#include "keys/bucket.h"
#include "keys/usage_int.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

static void
family(StringInfo out, const char *name, const char *type, const char *help)
{
	appendStringInfo(out, "# HELP musicverse_%s %s\n# TYPE musicverse_%s %s\n", name, help, name, type);
}

/* A label's value, escaped as the format wants it */
static void
append_value(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (; *text != '\0'; text++)
	{
		if (*text == '\n')
			appendStringInfoString(out, "\\n");
		else
		{
			if (*text == '"' || *text == '\\')
				appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, *text);
		}
	}
	appendStringInfoChar(out, '"');
}

static uint64
get(pg_atomic_uint64 *counter)
{
	return pg_atomic_read_u64(counter);
}

static void
requests(StringInfo out)
{
	uint32		n = pg_atomic_read_u32(&gateway_shared->noperations);

	pg_read_barrier();
	family(out, "http_requests_total", "counter", "Requests answered, by operation and class of status.");
	for (uint32 i = 0; i < n; i++)
		for (int c = 0; c < lengthof(gateway_shared->operation[i].answers); c++)
		{
			uint64		count = get(&gateway_shared->operation[i].answers[c]);

			if (count == 0)
				continue;
			appendStringInfoString(out, "musicverse_http_requests_total{operation=");
			append_value(out, gateway_shared->operation[i].name);
			appendStringInfo(out, ",status=\"%dxx\"} " UINT64_FORMAT "\n", c, count);
		}
	family(out, "http_request_duration_seconds", "histogram", "From a request's first line to its answer, by operation.");
	for (uint32 i = 0; i < n; i++)
	{
		GatewayOperation *operation = &gateway_shared->operation[i];
		uint64		sum = 0;

		for (int b = 0; b <= DURATION_BUCKETS; b++)
		{
			sum += get(&operation->duration[b]);
			appendStringInfoString(out, "musicverse_http_request_duration_seconds_bucket{operation=");
			append_value(out, operation->name);
			if (b < DURATION_BUCKETS)
				appendStringInfo(out, ",le=\"%g\"} " UINT64_FORMAT "\n", gateway_duration_ends[b] / 1e6, sum);
			else
				appendStringInfo(out, ",le=\"+Inf\"} " UINT64_FORMAT "\n", sum);
		}
		appendStringInfoString(out, "musicverse_http_request_duration_seconds_sum{operation=");
		append_value(out, operation->name);
		appendStringInfo(out, "} %.6f\n", get(&operation->duration_us) / 1e6);
		appendStringInfoString(out, "musicverse_http_request_duration_seconds_count{operation=");
		append_value(out, operation->name);
		appendStringInfo(out, "} " UINT64_FORMAT "\n", sum);
	}
}

#define SLOT_COUNTER(field, name, help) \
	do { \
		family(out, name, "counter", help); \
		for (int i = 0; i < MV_MAX_GATEWAYS; i++) \
			if (gateway_shared->slot[i].started_at != 0) \
				appendStringInfo(out, "musicverse_" name "{worker=\"%d\"} " UINT64_FORMAT "\n", i, get(&gateway_shared->slot[i].field)); \
	} while (0)

static void
gateways(StringInfo out)
{
	family(out, "gateway_up", "gauge", "Whether a worker of the gateway runs and listens.");
	for (int i = 0; i < MV_MAX_GATEWAYS; i++)
		if (gateway_shared->slot[i].started_at != 0)
			appendStringInfo(out, "musicverse_gateway_up{worker=\"%d\"} %d\n", i,
							 gateway_shared->slot[i].pid != 0 && gateway_shared->slot[i].port != 0);
	family(out, "gateway_connections", "gauge", "Open connections.");
	for (int i = 0; i < MV_MAX_GATEWAYS; i++)
		if (gateway_shared->slot[i].started_at != 0)
			appendStringInfo(out, "musicverse_gateway_connections{worker=\"%d\"} %u\n", i,
							 pg_atomic_read_u32(&gateway_shared->slot[i].connections));
	SLOT_COUNTER(accepted, "gateway_connections_total", "Connections taken.");
	SLOT_COUNTER(refused, "gateway_connections_refused_total", "Connections for which there was no room.");
	SLOT_COUNTER(timed_out, "gateway_timeouts_total", "Connections cut because a request or its answer took too long.");
	SLOT_COUNTER(requests, "gateway_requests_total", "Requests answered.");
	SLOT_COUNTER(bytes_in, "gateway_received_bytes_total", "Bytes of targets and bodies received.");
	SLOT_COUNTER(bytes_out, "gateway_sent_bytes_total", "Bytes of bodies sent.");
}

static void
limits(StringInfo out)
{
	int64		room,
				active,
				no_room,
				shadowed;
	UsageCounts usage;

	mv_bucket_counts(&room, &active, &no_room, &shadowed);
	family(out, "rate_limit_buckets", "gauge", "Token buckets that can be in use at once.");
	appendStringInfo(out, "musicverse_rate_limit_buckets " INT64_FORMAT "\n", room);
	family(out, "rate_limit_buckets_active", "gauge", "Token buckets in use.");
	appendStringInfo(out, "musicverse_rate_limit_buckets_active " INT64_FORMAT "\n", active);
	family(out, "rate_limit_no_room_total", "counter", "Calls for whose bucket there was no room.");
	appendStringInfo(out, "musicverse_rate_limit_no_room_total " INT64_FORMAT "\n", no_room);
	family(out, "rate_limit_shadowed_total", "counter", "Calls that only the shadow mode let pass.");
	appendStringInfo(out, "musicverse_rate_limit_shadowed_total " INT64_FORMAT "\n", shadowed);

	usage_counts(&usage);
	family(out, "usage_rows", "gauge", "Rows of usage that wait to be written.");
	appendStringInfo(out, "musicverse_usage_rows " INT64_FORMAT "\n", usage.entries);
	family(out, "usage_room", "gauge", "Rows of usage that can wait.");
	appendStringInfo(out, "musicverse_usage_room " INT64_FORMAT "\n", usage.room);
	family(out, "usage_dropped_total", "counter", "Calls whose usage found no room.");
	appendStringInfo(out, "musicverse_usage_dropped_total " INT64_FORMAT "\n", usage.dropped);
}

typedef struct ShardSeries
{
	const char *name;
	const char *type;
	const char *labels;
	const char *help;			/* NULL: of the same family as the one before */
	int64		(*value) (MvDatabase *database, int shard);
} ShardSeries;

static int64
is_running(MvDatabase *database, int s)
{
	return database->place[s].pid != 0;
}

static int64
backlog(MvDatabase *database, int s)
{
	MvShard    *shard = &database->shard[s];

	return Max((int64) (get(&shard->enqueued) + get(&shard->recovered) - get(&shard->settled)), 0);
}

static int64
oldest(MvDatabase *database, int s)
{
	uint64		at = get(&database->shard[s].oldest_pending);

	return at == 0 ? 0 : Max((mv_now() - (TimestampTz) at) / USECS_PER_SEC, 0);
}

#define READER(field, read) \
static int64 field(MvDatabase *database, int s) { return (int64) read(&database->shard[s].field); }

READER(delivered, get)
READER(failed, get)
READER(attempts, get)
READER(attempts_failed, get)
READER(in_flight, pg_atomic_read_u32)
READER(waiting, pg_atomic_read_u32)
READER(open_breakers, pg_atomic_read_u32)

static const ShardSeries series[] = {
	{"delivery_worker_up", "gauge", "", "Whether a delivery worker runs.", is_running},
	{"deliveries_backlog", "gauge", "", "Deliveries that are pending.", backlog},
	{"deliveries_in_flight", "gauge", "", "Requests to webhooks under way.", in_flight},
	{"deliveries_waiting", "gauge", "", "Deliveries that wait for their next attempt.", waiting},
	{"deliveries_oldest_seconds", "gauge", "", "Age of the oldest delivery that is pending.", oldest},
	{"webhooks_open_breakers", "gauge", "", "Webhooks that are only probed.", open_breakers},
	{"deliveries_total", "counter", ",outcome=\"delivered\"", "Deliveries that came to an end.", delivered},
	{"deliveries_total", "counter", ",outcome=\"given_up\"", NULL, failed},
	{"delivery_attempts_total", "counter", "", "Requests made to webhooks.", attempts},
	{"delivery_attempts_failed_total", "counter", "", "Requests to webhooks without success.", attempts_failed},
};

static void
webhooks(StringInfo out)
{
	for (int i = 0; i < lengthof(series); i++)
	{
		if (series[i].help != NULL)
			family(out, series[i].name, series[i].type, series[i].help);
		for (int d = 0; d < MV_MAX_DATABASES; d++)
		{
			MvDatabase *database = &mv_shared->database[d];
			char		name[NAMEDATALEN];
			int			shards;

			LWLockAcquire(database->lock, LW_SHARED);
			shards = OidIsValid(database->oid) ? Max(database->shards, 1) : 0;
			strlcpy(name, database->name, NAMEDATALEN);
			LWLockRelease(database->lock);
			for (int s = 0; s < shards; s++)
			{
				appendStringInfo(out, "musicverse_%s{database=", series[i].name);
				append_value(out, name);
				appendStringInfo(out, ",worker=\"%d\"%s} " INT64_FORMAT "\n", s, series[i].labels, series[i].value(database, s));
			}
		}
	}
}

void
gateway_metrics(StringInfo out)
{
	family(out, "info", "gauge", "The versions that run.");
	appendStringInfo(out, "musicverse_info{version=\"%s\",server=\"%s\"} 1\n", MV_VERSION, PG_VERSION);
	requests(out);
	gateways(out);
	limits(out);
	webhooks(out);
}

bool
gateway_health(StringInfo out, MvDatabase *database, bool extension)
{
	bool		recovery = RecoveryInProgress();
	int			running = 0;
	int			wanted = 0;
	bool		usage = false;
	bool		ready;

	if (database != NULL)
	{
		LWLockAcquire(database->lock, LW_SHARED);
		wanted = database->shards;
		for (int s = 0; s < database->shards; s++)
			running += database->place[s].pid != 0;
		usage = database->place[MV_PLACE_USAGE].pid != 0;
		LWLockRelease(database->lock);
	}
	ready = !recovery && extension && usage && wanted > 0 && running == wanted;
	appendStringInfo(out, "{\"status\":\"%s\",\"checks\":{\"database\":\"%s\",\"extension\":\"%s\","
					 "\"delivery_workers\":\"%d of %d\",\"usage_worker\":\"%s\"}}",
					 ready ? "ok" : "unavailable", recovery ? "standby" : "writable", extension ? "present" : "missing",
					 running, wanted, usage ? "running" : "not running");
	return ready;
}
