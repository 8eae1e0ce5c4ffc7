/*
 * verify_api_key() for SQL: the verdict as a row. Counts each call as usage.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "core/shared.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "keys/rate.h"
#include "keys/usage.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_verify_api_key);

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
	TupleDesc	desc;
	Datum		zero;
	Datum		malformed;		/* the row for what is no key at all: always the same */
} Kept;

static Kept *
kept(FunctionCallInfo fcinfo)
{
	Kept	   *result = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (likely(result != NULL))
		return result;
	mv_shared_require("verify_api_key()");
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	result = palloc0(sizeof(Kept));
	if (get_call_result_type(fcinfo, NULL, &result->desc) != TYPEFUNC_COMPOSITE || result->desc->natts != COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
	BlessTupleDesc(result->desc);
	result->zero = NumericGetDatum(int64_to_numeric(0));
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = result;
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
	return HeapTupleGetDatum(heap_form_tuple(cache->desc, values, nulls));
}

static Datum
malformed_row(FunctionCallInfo fcinfo, Kept *cache, MvVerdict *verdict)
{
	if (unlikely(cache->malformed == 0))
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		cache->malformed = verdict_row(cache, verdict);
		MemoryContextSwitchTo(old);
	}
	return cache->malformed;
}

/* verify_api_key(key text, scope text, client_ip inet, cost int, is_signed boolean) */
Datum
musicverse_verify_api_key(PG_FUNCTION_ARGS)
{
	Kept	   *cache = kept(fcinfo);
	MvCall		call = {0};
	MvVerdict	verdict;

	if (!PG_ARGISNULL(0))
	{
		text	   *key = PG_GETARG_TEXT_PP(0);

		call.key = VARDATA_ANY(key);
		call.key_len = VARSIZE_ANY_EXHDR(key);
	}
	if (!PG_ARGISNULL(1))
	{
		text	   *scope = PG_GETARG_TEXT_PP(1);

		call.scope = VARDATA_ANY(scope);
		call.scope_len = VARSIZE_ANY_EXHDR(scope);
	}
	if (!PG_ARGISNULL(2))
		call.client_ip = PG_GETARG_INET_PP(2);
	call.cost = PG_ARGISNULL(3) ? 1 : PG_GETARG_INT32(3);
	call.is_signed = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	if (call.cost < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cost must not be negative, but is %d", call.cost),
				 errhint("A cost of 0 looks at the limits without taking anything.")));

	mv_verdict_key(&call, &verdict);
	if (mv_count_verifications)
		count(&verdict, &call);
	if (verdict.reason == MV_MALFORMED)
		return malformed_row(fcinfo, cache, &verdict);
	return verdict_row(cache, &verdict);
}
