/*
 * The gateway for SQL: who serves where, metrics() and health() for the other
 * doors of the API.
 */
#include "postgres.h"

#include "api/gateway_int.h"
#include "core/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_gateway_status);
PG_FUNCTION_INFO_V1(musicverse_metrics);
PG_FUNCTION_INFO_V1(musicverse_health);

#define STATUS_COLUMNS 14

static Datum
counter(pg_atomic_uint64 *value)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(value));
}

/* _gateway_status(): a row for each worker that has run since the start */
Datum
musicverse_gateway_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	mv_shared_require("gateway_status");
	for (int s = 0; s < MV_MAX_GATEWAYS; s++)
	{
		GatewaySlot *slot = &gateway_shared->slot[s];
		Datum		values[STATUS_COLUMNS] = {0};
		bool		nulls[STATUS_COLUMNS] = {false};
		int			pid,
					port;
		int			i = 0;

		LWLockAcquire(gateway_shared->lock, LW_SHARED);
		pid = slot->pid;
		port = slot->port;
		values[i++] = Int32GetDatum(s);
		nulls[i] = pid == 0;
		values[i++] = Int32GetDatum(pid);
		values[i++] = ObjectIdGetDatum(slot->database);
		values[i++] = CStringGetTextDatum(pid == 0 ? "not running" : slot->stopping ? "stopping" :
										  port == 0 ? "not listening" : "listening");
		nulls[i] = port == 0;
		values[i++] = CStringGetTextDatum(slot->listen);
		nulls[i] = port == 0;
		values[i++] = Int32GetDatum(port);
		values[i++] = TimestampTzGetDatum(slot->started_at);
		LWLockRelease(gateway_shared->lock);
		if (slot->started_at == 0)
			continue;
		values[i++] = Int32GetDatum((int32) pg_atomic_read_u32(&slot->connections));
		values[i++] = counter(&slot->accepted);
		values[i++] = counter(&slot->refused);
		values[i++] = counter(&slot->requests);
		values[i++] = counter(&slot->errors);
		values[i++] = counter(&slot->bytes_in);
		values[i++] = counter(&slot->bytes_out);
		Assert(i == STATUS_COLUMNS);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* metrics() */
Datum
musicverse_metrics(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	mv_shared_require("metrics()");
	initStringInfo(&out);
	gateway_metrics(&out);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* health() */
Datum
musicverse_health(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	mv_shared_require("health()");
	initStringInfo(&out);
	gateway_health(&out, mv_database_find(MyDatabaseId), true);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}
