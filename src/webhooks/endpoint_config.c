/*
 * A webhook's configuration, from its row to what can be used at once: opened
 * secrets, parsed schedule, prepared target. Secrets are opened here and
 * nowhere else in the worker. What can't be used is a reason in config_error,
 * never an error: one bad webhook must not keep the others from being read.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/clock.h"
#include "core/seal.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

typedef struct HostEntry
{
	char	   *name;
	Host	   *host;
	char		status;
} HostEntry;

#define SH_PREFIX hosts
#define SH_ELEMENT_TYPE HostEntry
#define SH_KEY_TYPE char *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

void
endpoint_config_init(void)
{
	worker.hosts = hosts_create(TopMemoryContext, 64, NULL);
}

void
target_release(TargetRef *target)
{
	if (target != NULL && --target->users == 0)
	{
		mv_target_free(target->target);
		curl_slist_free_all(target->headers);
		pfree(target);
	}
}

/* Drops the configuration, not the deliveries nor what was learnt. */
void
endpoint_drop_config(Endpoint *endpoint)
{
	target_release(endpoint->target);
	endpoint->target = NULL;
	if (endpoint->signer != NULL)
		mv_signer_free(endpoint->signer);
	if (endpoint->previous_signer != NULL)
		mv_signer_free(endpoint->previous_signer);
	endpoint->signer = endpoint->previous_signer = NULL;
	endpoint->headers_json = NULL;
	endpoint->url = NULL;
	endpoint->schedule = NULL;
	endpoint->schedule_len = 0;
	if (endpoint->context != NULL)
		MemoryContextReset(endpoint->context);
	endpoint->fingerprint = 0;
}

static Host *
host_get(const char *name)
{
	HostEntry  *entry = hosts_lookup(worker.hosts, unconstify(char *, name));
	Host	   *host;
	bool		found;

	if (entry != NULL)
		return entry->host;
	host = MemoryContextAllocZero(TopMemoryContext, sizeof(Host));
	strlcpy(host->name, name, sizeof(host->name));
	dlist_init(&host->stalled);
	entry = hosts_insert(worker.hosts, host->name, &found);
	entry->host = host;
	return host;
}

/* "host:port" of a URL, lower-cased by libcurl; the URL itself when it can't tell. */
static Host *
host_of_url(const char *url)
{
	CURLU	   *parsed = curl_url();
	char	   *host = NULL,
			   *port = NULL;
	char		name[264];

	strlcpy(name, url, sizeof(name));
	if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
		snprintf(name, sizeof(name), "%s:%s", host, port);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(parsed);
	return host_get(name);
}

/* Values that the list of attempts shall not show. */
static bool
is_confidential(const char *name)
{
	return pg_strcasecmp(name, "authorization") == 0 || pg_strcasecmp(name, "cookie") == 0 ||
		pg_strcasecmp(name, "x-api-key") == 0;
}

/* Appends a line; without memory it is an error of the configuration. */
static void
add_header(Endpoint *endpoint, const char *line)
{
	struct curl_slist *longer = curl_slist_append(endpoint->target->headers, line);

	if (longer == NULL)
		strlcpy(endpoint->config_error, "out of memory", sizeof(endpoint->config_error));
	else
		endpoint->target->headers = longer;
}

/* From the jsonb of custom headers: the lines to send, and their JSON. */
static void
take_headers(Endpoint *endpoint, Jsonb *headers)
{
	JsonbIterator *iter = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	StringInfoData json;
	char	   *name = NULL;

	initStringInfo(&json);
	add_header(endpoint, "Content-Type: application/json");
	while ((token = JsonbIteratorNext(&iter, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvString)
		{
			char	   *text = pnstrdup(value.val.string.val, value.val.string.len);

			add_header(endpoint, psprintf("%s: %s", name, text));
			appendStringInfoChar(&json, ',');
			escape_json(&json, asc_tolower(name, strlen(name)));
			appendStringInfoChar(&json, ':');
			escape_json(&json, is_confidential(name) ? "<redacted>" : text);
		}
	}
	endpoint->headers_json = json.data;
}

static void
take_schedule(Endpoint *endpoint, ArrayType *array)
{
	Datum	   *elements;
	int			n;

	deconstruct_array(array, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE, &elements, NULL, &n);
	endpoint->schedule = palloc(sizeof(int) * Max(n, 1));
	endpoint->schedule_len = n;
	for (int i = 0; i < n; i++)
	{
		Interval   *delay = DatumGetIntervalP(elements[i]);
		int64		seconds = (delay->time + ((int64) delay->day + (int64) delay->month * DAYS_PER_MONTH) * USECS_PER_DAY) / USECS_PER_SEC;

		endpoint->schedule[i] = (int) Max(0, Min(seconds, 30 * SECS_PER_DAY));
	}
}

/* An opened secret as a signer; on failure the reason is in config_error. */
static MvSigner *
open_signer(Endpoint *endpoint, Datum sealed)
{
	char		id[37];
	size_t		len;
	const char *why = NULL;
	char	   *secret;
	MvSigner   *volatile signer = NULL;
	MemoryContext context = CurrentMemoryContext;

	mv_uuid_text(&endpoint->id, id);
	secret = mv_unseal_noerror(DatumGetByteaPP(sealed), psprintf("webhook:%s:secret", id), &len, &why);
	if (secret == NULL)
	{
		strlcpy(endpoint->config_error, why, sizeof(endpoint->config_error));
		return NULL;
	}
	PG_TRY();
	{
		signer = mv_signer_create(secret, len);
	}
	PG_CATCH();
	{
		/* it only parses, so there is nothing to roll back */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		strlcpy(endpoint->config_error, "its secret is malformed", sizeof(endpoint->config_error));
		signer = NULL;
	}
	PG_END_TRY();
	explicit_bzero(secret, len);
	pfree(secret);
	return signer;
}

enum
{
	C_ID = 1, C_USER, C_URL, C_HEADERS, C_SECRET, C_PREVIOUS, C_PREVIOUS_UNTIL, C_CERT, C_KEY, C_CA,
	C_TIMEOUT, C_SCHEDULE, C_RATE, C_CONCURRENCY, C_SENDABLE, C_FAILURES, C_FAILING_SINCE, C_SUCCESS, C_LOW, C_FINGERPRINT
};

/* The statement that reads webhooks: $1 their ids, $2 this installation */
const char *const endpoint_columns =
	"select w.id, w.user_id, w.url, w.headers, w.secret,"
	" case when w.previous_secret_until > musicverse._now() then w.previous_secret end, w.previous_secret_until,"
	" w.client_cert, w.client_key, w.ca_cert,"
	" (extract(epoch from w.timeout) * 1000)::int4, w.retry_schedule, w.rate_limit, w.max_concurrency,"
	" w.is_active and w.installation_id = $2, coalesce(s.failure_count, 0), s.failing_since, s.last_success_at, s.low_seq,"
	" hashtext(row(w.url, w.headers, w.secret, w.previous_secret, w.previous_secret_until, w.client_cert,"
	"  w.client_key, w.ca_cert, w.timeout, w.retry_schedule, w.rate_limit, w.max_concurrency)::text)"
	" from musicverse.webhook_endpoints w left join musicverse.webhook_state s on s.webhook_id = w.id"
	" where w.id = any($1)";

static void
take_target(Endpoint *endpoint, HeapTuple tuple, TupleDesc desc)
{
	MvTargetOptions options = {0};
	const char *why = NULL;
	MvTarget   *target;
	bool		isnull;
	Datum		value;
	char	   *key = NULL;
	size_t		len = 0;

	options.url = endpoint->url;
	options.connect_timeout_ms = Min(mv_connect_timeout_ms, endpoint->timeout_ms);
	options.timeout_ms = endpoint->timeout_ms;
	options.user_agent = "musicverse/" MV_VERSION;
	value = SPI_getbinval(tuple, desc, C_CERT, &isnull);
	if (!isnull)
		options.client_cert = TextDatumGetCString(value);
	value = SPI_getbinval(tuple, desc, C_CA, &isnull);
	if (!isnull)
		options.ca = TextDatumGetCString(value);
	value = SPI_getbinval(tuple, desc, C_KEY, &isnull);
	if (!isnull)
	{
		char		id[37];

		mv_uuid_text(&endpoint->id, id);
		key = mv_unseal_noerror(DatumGetByteaPP(value), psprintf("webhook:%s:client_key", id), &len, &why);
		if (key == NULL)
		{
			strlcpy(endpoint->config_error, why, sizeof(endpoint->config_error));
			return;
		}
		options.client_key = key;
	}
	target = mv_target_create(&options, &why);
	if (key != NULL)
		explicit_bzero(key, len);
	if (target == NULL)
	{
		strlcpy(endpoint->config_error, why, sizeof(endpoint->config_error));
		return;
	}
	endpoint->target = MemoryContextAllocZero(TopMemoryContext, sizeof(TargetRef));
	endpoint->target->target = target;
	endpoint->target->users = 1;
	take_headers(endpoint, DatumGetJsonbP(SPI_getbinval(tuple, desc, C_HEADERS, &isnull)));
}

static void
take_config(Endpoint *endpoint, HeapTuple tuple, TupleDesc desc)
{
	MemoryContext old;
	bool		isnull;
	Datum		value;

	endpoint->known = false;	/* until all of it is there */
	endpoint_drop_config(endpoint);
	if (endpoint->context == NULL)
		endpoint->context = AllocSetContextCreate(TopMemoryContext, "musicverse webhook", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(endpoint->context);
	endpoint->config_error[0] = '\0';
	endpoint->user_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, C_USER, &isnull));
	endpoint->url = TextDatumGetCString(SPI_getbinval(tuple, desc, C_URL, &isnull));
	endpoint->host = host_of_url(endpoint->url);
	value = SPI_getbinval(tuple, desc, C_SCHEDULE, &isnull);
	if (!isnull)
		take_schedule(endpoint, DatumGetArrayTypeP(value));
	value = SPI_getbinval(tuple, desc, C_RATE, &isnull);
	endpoint->rate = isnull ? 0 : DatumGetFloat8(value);
	value = SPI_getbinval(tuple, desc, C_CONCURRENCY, &isnull);
	endpoint->max_concurrency = isnull ? mv_endpoint_concurrency : DatumGetInt32(value);
	value = SPI_getbinval(tuple, desc, C_TIMEOUT, &isnull);
	endpoint->timeout_ms = isnull ? mv_request_timeout_ms : DatumGetInt32(value);

	endpoint->signer = open_signer(endpoint, SPI_getbinval(tuple, desc, C_SECRET, &isnull));
	value = SPI_getbinval(tuple, desc, C_PREVIOUS, &isnull);
	if (!isnull && endpoint->signer != NULL)
	{
		/* sealed under a lost key it is no loss: the new one signs */
		endpoint->previous_signer = open_signer(endpoint, value);
		endpoint->config_error[0] = '\0';
		endpoint->previous_until = DatumGetTimestampTz(SPI_getbinval(tuple, desc, C_PREVIOUS_UNTIL, &isnull));
	}
	if (endpoint->config_error[0] == '\0')
		take_target(endpoint, tuple, desc);
	MemoryContextSwitchTo(old);

	if (endpoint->config_error[0] != '\0')
	{
		char	   *message = psprintf("webhook %s can't be sent to: %s", endpoint->url, endpoint->config_error);

		worker_note_error(message);
		ereport(LOG, (errmsg("%s", message)));
	}
}

void
endpoint_load_row(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Endpoint   *endpoint = endpoint_get(DatumGetUUIDP(SPI_getbinval(tuple, desc, C_ID, &isnull)));
	uint32		fingerprint = DatumGetUInt32(SPI_getbinval(tuple, desc, C_FINGERPRINT, &isnull)) | 1;
	bool		was_known = endpoint->known;
	bool		was_sendable = endpoint->known && endpoint->sendable;
	bool		cleared;
	Datum		value;

	if (!endpoint->known || fingerprint != endpoint->fingerprint)
	{
		take_config(endpoint, tuple, desc);
		endpoint->fingerprint = fingerprint;
		endpoint->not_before = 0;
	}
	endpoint->sendable = DatumGetBool(SPI_getbinval(tuple, desc, C_SENDABLE, &isnull)) &&
		endpoint->config_error[0] == '\0' && !endpoint->disabling;
	/* enable_webhook() cleared what was written: perhaps nobody saw it disabled */
	SPI_getbinval(tuple, desc, C_FAILING_SINCE, &isnull);
	cleared = isnull && endpoint->failing_since != 0 && !endpoint->state_dirty;
	if (!was_known || (endpoint->sendable && (!was_sendable || cleared)))
	{
		/* new, or enabled again: what the table says holds */
		endpoint->failure_count = DatumGetInt32(SPI_getbinval(tuple, desc, C_FAILURES, &isnull));
		value = SPI_getbinval(tuple, desc, C_FAILING_SINCE, &isnull);
		endpoint->failing_since = isnull ? 0 : DatumGetTimestampTz(value);
		value = SPI_getbinval(tuple, desc, C_SUCCESS, &isnull);
		endpoint->last_success = isnull ? endpoint->last_success : DatumGetTimestampTz(value);
		value = SPI_getbinval(tuple, desc, C_LOW, &isnull);
		endpoint->low_seq_written = isnull ? 0 : DatumGetInt64(value);
		if (endpoint->breaker != BREAKER_CLOSED)
			worker.open_breakers--;
		endpoint->breaker = BREAKER_CLOSED;
		endpoint->failures = 0;
		endpoint->window = 2;
		endpoint->not_before = 0;
	}
	endpoint->known = true;
	endpoint->gone = false;
	endpoint->generation = worker.generation;
	if (endpoint->sendable && endpoint->backlog_lo != 0)
		endpoint_look_from(endpoint, endpoint->backlog_lo);
	if (!endpoint->sendable)
		endpoint_unload(endpoint);
	endpoint_schedule(endpoint, mv_now());
}
