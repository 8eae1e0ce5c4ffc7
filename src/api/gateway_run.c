/*
 * The transaction around the dispatcher. Whatever it or the commit raises
 * ends here, as an answer: a cancel, a time-out or a lack of resources is 503,
 * anything else 500, with the id of the request in the log and in the answer.
 *
 * Every transaction holds the extension's lock, so that DROP EXTENSION waits
 * for it or is seen by it: no catalogue has to be read for that, as what was
 * found before is forgotten by an invalidation, and taking a lock reads those.
 *
 * Locks: AccessShareLock on the extension.
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/gateway_int.h"
#include "api/problem.h"
#include "catalog/pg_extension.h"
#include "core/catalog.h"
#include "core/uuid7.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/uuid.h"

/* Takes the extension's lock and finds it as it was; false when it is gone. */
static bool
hold_extension(void)
{
	const MvCatalog *catalog;

	if (OidIsValid(gateway.extension))
	{
		LockDatabaseObject(ExtensionRelationId, gateway.extension, 0, AccessShareLock);
		catalog = mv_catalog_try();
		if (catalog != NULL && catalog->extension == gateway.extension)
			return true;
		gateway.extension_replaced = catalog != NULL;
		gateway.extension_gone = true;
		return false;
	}
	gateway.extension = mv_catalog_lock_extension();
	if (OidIsValid(gateway.extension) && mv_catalog_try() != NULL)
		return true;
	gateway.extension_gone = true;
	return false;
}

static void
begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	debug_query_string = activity;
	QueryCancelPending = false;	/* meant for what ran before */
	StartTransactionCommand();
	if (gateway_statement_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, gateway_statement_timeout);
}

static void
commit(void)
{
	if (gateway_statement_timeout > 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
}

/* After an error; the caller is in its own memory context. Returns a status for it. */
static int
recover(const char *request_id)
{
	ErrorData  *error;
	int			status;

	HOLD_INTERRUPTS();
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
	if (request_id != NULL)
		errcontext("request %s", request_id);
	EmitErrorReport();
	error = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
	switch (error->sqlerrcode)
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			status = 503;
			break;
		default:
			status = ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES ? 503 : 500;
	}
	FreeErrorData(error);
	return status;
}

/* Of what was raised, in static memory: it may be memory that is short. */
static void
failed(MvApiResponse *response, int status, const char *id)
{
	static char body[400];
	static char request_id[40];
	const char *title;
	const char *type = mv_problem_type(status, &title);

	strlcpy(request_id, id, sizeof(request_id));
	memset(response, 0, sizeof(*response));
	response->status = status;
	response->body = body;
	response->body_len = snprintf(body, sizeof(body),
								  "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\",\"request_id\":\"%s\"}\n",
								  type, title, status,
								  status == 503 ? "The request could not be served now." :
								  "The request failed. The server's log says why, under this id.",
								  request_id);
	response->headers[response->nheaders++] = (MvHeader) {"Content-Type", "application/problem+json"};
	response->headers[response->nheaders++] = (MvHeader) {"Cache-Control", "no-store"};
	response->headers[response->nheaders++] = (MvHeader) {"X-Request-Id", request_id};
	if (status == 503)
		response->headers[response->nheaders++] = (MvHeader) {"Retry-After", "1"};
	response->operation = "none";
	response->request_id = request_id;
}

void
gateway_make_id(char id[37])
{
	pg_uuid_t	uuid;

	mv_uuid7(&uuid);
	mv_uuid_text(&uuid, id);
}

void
gateway_dispatch(Request *request, MvApiResponse *response)
{
	MemoryContext context = gateway.request_context;
	Connection *connection = request->connection;
	char		activity[200];
	inet		client_ip;
	size_t		len = Min(request->method_len, 32);
	MvApiRequest asked = {
		.method = request->method,
		.method_len = request->method_len,
		.target = connection->target,
		.target_len = connection->target_len,
		.headers = request->fields,
		.nheaders = request->nfields,
		.body = connection->body_len > 0 ? connection->body : "",
		.body_len = connection->body_len,
		.client_ip = &client_ip,
		.owns_transaction = true,
		.received_us = connection->received_us,
	};

	gateway_address_inet(&request->client, &client_ip);
	/* without the query, which may hold secrets */
	memcpy(activity, request->method, len);
	activity[len++] = ' ';
	strlcpy(activity + len, request->path, sizeof(activity) - len);

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		begin(activity);
		if (hold_extension())
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			MemoryContextSwitchTo(context);
			mv_api_handle(&asked, response);
			PopActiveSnapshot();
		}
		else
		{
			char		id[37];

			gateway_make_id(id);
			failed(response, 503, id);
		}
		commit();
	}
	PG_CATCH();
	{
		char		id[37];

		MemoryContextSwitchTo(context);
		gateway_make_id(id);
		failed(response, recover(id), id);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	debug_query_string = NULL;
}

void
gateway_look(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		begin("looking at the extension");
		hold_extension();
		commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		recover(NULL);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	debug_query_string = NULL;
}
