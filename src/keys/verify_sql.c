/*
 * verify_api_key() and verify_signed_request() for SQL: the verdict as a row.
 * Each call is counted as usage.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "core/shared.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/kept.h"
#include "keys/keys.h"
#include "keys/rate.h"
#include "keys/signature.h"
#include "keys/usage.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_verify_api_key);
PG_FUNCTION_INFO_V1(musicverse_verify_signed_request);

#define COLUMNS 11

enum
{
	ALLOWED,
	STATUS,
	REASON,
	KEY_ID,
	USER_ID,
	TIER,
	LIMIT,
	REMAINING,
	RETRY_AFTER,
	POLICY,
	RESETS_AT
};

typedef struct Kept
{
	MvKept		kept;
	Datum		zero;
	Datum		malformed;		/* the row for what is no key at all: always the same */

	/* The last row of a call that was allowed. The next is like it but for what has a fixed length. */
	HeapTuple	allowed;
	char		tier[MV_TIER_LEN];
	const char *policy;
	Size		limit_at;		/* where in its data the columns behind tier, and behind policy, begin */
	Size		resets_at;
} Kept;

/* How the columns of such a row begin, with a reason that is null, and those behind tier */
typedef struct AllowedHead
{
	bool		allowed;
	int32		status;
	pg_uuid_t	key_id;
	pg_uuid_t	user_id;
} AllowedHead;

typedef struct AllowedLimit
{
	int32		limit;
	int32		remaining;
} AllowedLimit;

static inline Kept *
kept(FunctionCallInfo fcinfo, const char *what)
{
	Kept	   *result = mv_kept(fcinfo, sizeof(Kept));

	if (unlikely(result->zero == 0))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		mv_shared_require(what);
		if (result->kept.desc->natts != COLUMNS)
			elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
		result->zero = NumericGetDatum(int64_to_numeric(0));
		MemoryContextSwitchTo(old);
	}
	return result;
}

static void
count(const MvVerdict *verdict, const MvCall *call)
{
	MvUsage		usage = {0};

	usage.key_id = verdict->has_key ? &verdict->key_id : NULL;
	usage.user_id = verdict->identified ? &verdict->user_id : NULL;
	usage.operation = call->scope != NULL ? call->scope : "verify";
	usage.operation_len = call->scope != NULL ? call->scope_len : strlen("verify");
	usage.status = verdict->status;
	usage.refused = !verdict->allowed;
	usage.shadow = verdict->allowed && verdict->reason != MV_ALLOWED;
	usage.at = verdict->judged_at;
	usage.duration_us = -1;
	mv_usage_record(&usage);
}

static Datum
verdict_row(Kept *cache, MvVerdict *verdict)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	values[ALLOWED] = BoolGetDatum(verdict->allowed);
	values[STATUS] = Int32GetDatum(verdict->status);
	nulls[REASON] = verdict->reason == MV_ALLOWED;
	if (!nulls[REASON])
		values[REASON] = PointerGetDatum(cstring_to_text(mv_reason_name(verdict->reason)));
	nulls[KEY_ID] = !verdict->has_key;
	nulls[USER_ID] = nulls[TIER] = !verdict->identified;
	if (verdict->identified)
	{
		values[KEY_ID] = UUIDPGetDatum(&verdict->key_id);
		values[USER_ID] = UUIDPGetDatum(&verdict->user_id);
		values[TIER] = PointerGetDatum(cstring_to_text(verdict->tier));
	}
	nulls[LIMIT] = nulls[REMAINING] = nulls[POLICY] = nulls[RESETS_AT] = verdict->limit < 0;
	if (verdict->limit >= 0)
	{
		values[LIMIT] = Int32GetDatum((int32) Min(verdict->limit, PG_INT32_MAX));
		values[REMAINING] = Int32GetDatum((int32) Min(verdict->remaining, PG_INT32_MAX));
		values[POLICY] = PointerGetDatum(cstring_to_text(verdict->policy));
		values[RESETS_AT] = TimestampTzGetDatum(verdict->judged_at + verdict->reset_us);
	}
	nulls[RETRY_AFTER] = verdict->retry_us < 0 || verdict->status == 401 || verdict->status == 403;
	values[RETRY_AFTER] = verdict->retry_us > 0 ? mv_seconds(verdict->retry_us) : cache->zero;
	return HeapTupleGetDatum(heap_form_tuple(cache->kept.desc, values, nulls));
}

static Size
end_of(Kept *cache, int column)
{
	HeapTupleHeader row = cache->allowed->t_data;
	bool		isnull;
	char	   *value = DatumGetPointer(heap_getattr(cache->allowed, column + 1, cache->kept.desc, &isnull));

	return value + VARSIZE_ANY(value) - ((char *) row + row->t_hoff);
}

/* Makes the row from which others are copied. */
static void
keep_allowed(Kept *cache, MvVerdict *verdict)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(verdict_row(cache, verdict));
	Size		len = HeapTupleHeaderGetDatumLength(row);
	HeapTuple	made = MemoryContextAllocZero(TopMemoryContext, HEAPTUPLESIZE + len);

	made->t_len = len;
	made->t_data = (HeapTupleHeader) ((char *) made + HEAPTUPLESIZE);
	memcpy(made->t_data, row, len);
	if (cache->allowed != NULL)
		pfree(cache->allowed);
	cache->allowed = made;
	strlcpy(cache->tier, verdict->tier, sizeof(cache->tier));
	cache->policy = verdict->policy;
	cache->limit_at = INTALIGN(end_of(cache, TIER));
	cache->resets_at = DOUBLEALIGN(end_of(cache, POLICY));
}

/* Copies a row instead of forming one, which would cost a fifth of the whole. */
static Datum
allowed_row(Kept *cache, MvVerdict *verdict)
{
	HeapTupleHeader row;
	AllowedHead *head;
	AllowedLimit *limit;
	TimestampTz resets_at = verdict->judged_at + verdict->reset_us;
	char	   *data;

	if (unlikely(cache->allowed == NULL || cache->policy != verdict->policy || strcmp(cache->tier, verdict->tier) != 0))
		keep_allowed(cache, verdict);
	row = palloc(cache->allowed->t_len);
	memcpy(row, cache->allowed->t_data, cache->allowed->t_len);
	data = (char *) row + row->t_hoff;
	head = (AllowedHead *) data;
	head->key_id = verdict->key_id;
	head->user_id = verdict->user_id;
	limit = (AllowedLimit *) (data + cache->limit_at);
	limit->limit = (int32) Min(verdict->limit, PG_INT32_MAX);
	limit->remaining = (int32) Min(verdict->remaining, PG_INT32_MAX);
	memcpy(data + cache->resets_at, &resets_at, sizeof(resets_at));
	return HeapTupleHeaderGetDatum(row);
}

static Datum
malformed_row(Kept *cache, MvVerdict *verdict)
{
	if (unlikely(cache->malformed == 0))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		cache->malformed = verdict_row(cache, verdict);
		MemoryContextSwitchTo(old);
	}
	return cache->malformed;
}

/* The bytes of a text; NULL and 0 for NULL */
static void
bytes(FunctionCallInfo fcinfo, int arg, const char **data, int *len)
{
	text	   *value;

	*data = NULL;
	*len = 0;
	if (PG_ARGISNULL(arg))
		return;
	value = PG_GETARG_TEXT_PP(arg);
	*data = VARDATA_ANY(value);
	*len = VARSIZE_ANY_EXHDR(value);
}

/* scope text, client_ip inet and cost int from an argument on */
static void
call_arguments(FunctionCallInfo fcinfo, int from, MvCall *call)
{
	bytes(fcinfo, 0, &call->key, &call->key_len);
	bytes(fcinfo, from, &call->scope, &call->scope_len);
	if (!PG_ARGISNULL(from + 1))
		call->client_ip = PG_GETARG_INET_PP(from + 1);
	call->cost = PG_ARGISNULL(from + 2) ? 1 : PG_GETARG_INT32(from + 2);
	if (call->cost < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cost must not be negative, but is %d", call->cost),
				 errhint("A cost of 0 looks at the limits without taking anything.")));
}

static Datum
verify(Kept *cache, const MvCall *call)
{
	MvVerdict	verdict;

	mv_verdict_key(call, &verdict);
	if (mv_count_verifications)
		count(&verdict, call);
	if (verdict.reason == MV_MALFORMED)
		return malformed_row(cache, &verdict);
	if (verdict.reason == MV_ALLOWED && verdict.has_key && verdict.limit >= 0 && verdict.retry_us == 0)
		return allowed_row(cache, &verdict);
	return verdict_row(cache, &verdict);
}

/* verify_api_key(key text, scope text, client_ip inet, cost int, is_signed boolean) */
Datum
musicverse_verify_api_key(PG_FUNCTION_ARGS)
{
	Kept	   *cache = kept(fcinfo, "verify_api_key()");
	MvCall		call = {0};

	call_arguments(fcinfo, 1, &call);
	call.is_signed = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	return verify(cache, &call);
}

/*
 * verify_signed_request(key text, signature text, method text, path text, ts bigint, body text,
 *						 scope text, client_ip inet, cost int)
 */
Datum
musicverse_verify_signed_request(PG_FUNCTION_ARGS)
{
	Kept	   *cache = kept(fcinfo, "verify_signed_request()");
	MvCall		call = {0};
	MvRequest	request;

	call_arguments(fcinfo, 6, &call);
	bytes(fcinfo, 1, &call.signatures, &call.signatures_len);
	bytes(fcinfo, 2, &request.method, &request.method_len);
	bytes(fcinfo, 3, &request.path, &request.path_len);
	request.ts = PG_ARGISNULL(4) ? PG_INT64_MIN : PG_GETARG_INT64(4);
	bytes(fcinfo, 5, &request.body, &request.body_len);
	if (request.body == NULL)
		request.body = "";
	/* whoever sends neither of the two headers signs nothing */
	if (!PG_ARGISNULL(1) || !PG_ARGISNULL(4))
		call.request = &request;
	return verify(cache, &call);
}
