/*
 * The gateway's own paths: what operators and load balancers ask. None of
 * them needs a transaction, so they are answered also where the database
 * can't answer.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "api/gateway_int.h"
#include "utils/memutils.h"

typedef bool (*Maker) (StringInfo out);

static bool
make_liveness(StringInfo out)
{
	appendStringInfoString(out, "{\"status\":\"ok\"}\n");
	return true;
}

static bool
make_readiness(StringInfo out)
{
	bool		ready = gateway_health(out, gateway.database, !gateway.extension_gone);

	appendStringInfoChar(out, '\n');
	return ready && !gateway.stopping;
}

static bool
make_metrics(StringInfo out)
{
	gateway_metrics(out);
	return true;
}

/* Sends what a maker makes; 503 when that says it isn't well. */
static enum MHD_Result
send_made(Request *request, const char *operation, const char *type, Maker make)
{
	MemoryContext context = CurrentMemoryContext;
	MvApiResponse answer = {.operation = operation, .request_id = ""};
	StringInfoData out;
	volatile bool raised = false;
	volatile bool well = false;
	enum MHD_Result result;

	MemoryContextSwitchTo(gateway.request_context);
	PG_TRY();
	{
		initStringInfo(&out);
		well = make(&out);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(gateway.request_context);
		EmitErrorReport();
		FlushErrorState();
		raised = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (raised)
		return gateway_problem(request, 503, "There is not enough memory.");
	answer.status = well ? 200 : 503;
	answer.body = out.data;
	answer.body_len = out.len;
	answer.headers[answer.nheaders++] = (MvHeader) {"Content-Type", type};
	answer.headers[answer.nheaders++] = (MvHeader) {"Cache-Control", "no-store"};
	result = gateway_send(request, &answer, NULL);
	MemoryContextReset(gateway.request_context);
	return result;
}

/* What stands at / when no files are served */
static bool
make_pointer(StringInfo out)
{
	appendStringInfo(out, "{\"name\":\"musicverse\",\"version\":\"%s\",\"openapi\":\"/api/v1/openapi.json\"}\n", MV_VERSION);
	return true;
}

bool
gateway_own(Request *request, enum MHD_Result *result)
{
	const char *path = request->path;
	bool		reads = request->is_head || strcmp(request->method, "GET") == 0;

	if (strncmp(path, "/api/", 5) == 0)
		return false;
	if (strcmp(path, "*") == 0)
	{
		MvApiResponse answer = {.status = 204, .operation = "none", .request_id = "", .body = ""};

		answer.headers[answer.nheaders++] = (MvHeader) {"Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"};
		*result = gateway_send(request, &answer, NULL);
	}
	else if (reads && strcmp(path, "/healthz") == 0)
		*result = send_made(request, "healthz", "application/json", make_liveness);
	else if (reads && strcmp(path, "/readyz") == 0)
		*result = send_made(request, "readyz", "application/json", make_readiness);
	else if (reads && strcmp(path, "/metrics") == 0)
	{
		if (request->client_known && gateway_in(gateway_metrics_allowed, &request->client))
			*result = send_made(request, "metrics", "text/plain; version=0.0.4; charset=utf-8", make_metrics);
		else
			*result = gateway_problem(request, 403, "Metrics are shown to the addresses in musicverse.metrics_allowed only.");
	}
	else if (gateway_media_file(request, result))
		return true;
	else if (gateway_document_root != NULL && gateway_document_root[0] != '\0')
		*result = gateway_file(request);
	else if (reads && strcmp(path, "/") == 0)
		*result = send_made(request, "static", "application/json", make_pointer);
	else
		*result = gateway_problem(request, 404, "There is nothing here; the API begins at /api/v1/.");
	return true;
}
