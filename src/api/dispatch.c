/*
 * The dispatcher. See dispatch.h.
 *
 * The order of the steps is the order of what a client should be told first:
 * a target or headers that can't be read, no such route, not that method, who
 * are you, not acceptable, too large, not what the operation takes. Tokens are
 * taken before the body is looked at: who sends rubbish pays for it.
 *
 * Locks: AccessShareLock on routes and api_versions when they changed; see
 * keys.h and idempotency.h; and the operation's.
 */
#include "postgres.h"

#include "api/bind.h"
#include "api/call.h"
#include "api/cors.h"
#include "api/dispatch.h"
#include "api/idempotency.h"
#include "api/identity.h"
#include "api/operate.h"
#include "api/problem.h"
#include "api/request.h"
#include "api/respond.h"
#include "api/route.h"
#include "keys/usage.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

void
mv_dispatch_init(void)
{
	mv_body_init();
	mv_cors_init();
	mv_idempotency_init();
	mv_route_init();
}

static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

static bool
method_is(const MvApiRequest *request, const char *name)
{
	return request->method_len == strlen(name) && memcmp(request->method, name, request->method_len) == 0;
}

/* Finds the route, or answers for the path: OPTIONS, 404, 405. */
static bool
find_route(MvApiCall *call, MvRoutes *routes)
{
	const MvNode *node = mv_routes_match(routes, call->segments, call->nsegments, call->path_values);
	const char *methods;
	int			method;

	call->node = node;
	if (node == NULL && !(call->is_options && call->nsegments == 0))
		return mv_problem(call, MV_P_NOT_FOUND, call->nsegments > 1 && call->segments[call->nsegments - 1][0] == '\0' ?
						  "No route has this path; none ends with a slash." : "No route has this path.");
	if (!call->is_options)
	{
		for (method = 0; method < MV_METHODS; method++)
			if (method_is(call->request, call->is_head ? "GET" : mv_method_names[method]))
				break;
		if (call->is_head)
			method = MV_GET;
		call->route = method < MV_METHODS ? mv_node_route(node, method) : NULL;
		if (call->route != NULL)
			return true;
	}
	methods = mv_node_methods(node);
	mv_header(call, "Allow", methods);
	if (!call->is_options)
		return mv_problem(call, MV_P_METHOD_NOT_ALLOWED, "This path takes %s.", methods);
	call->response->status = 204;
	call->response->body = "";
	return false;
}

static bool
resolve(MvApiCall *call, MvRoutes *routes)
{
	const char *why = NULL;

	if (mv_route_resolve(routes, call->route, &why))
		return true;
	ereport(LOG_SERVER_ONLY,
			(errmsg("request %s: operation %s of version %s of the API cannot be called: %s",
					call->request_id, call->route->operation, call->route->version, why)));
	return mv_problem(call, MV_P_NOT_IMPLEMENTED, "The operation %s is not there.", call->route->operation);
}

static bool
serve(MvApiCall *call, MvRoutes *routes)
{
	/* both in any case: what is wrong with one is told with what the other says */
	bool		good = mv_read_headers(call);

	good &= mv_read_target(call);
	if (!good || !find_route(call, routes))
		return false;
	if (call->route->is_raw)
		return mv_identify_raw(call) && mv_check_body_size(call) && resolve(call, routes) && mv_bind(call) && mv_operate(call) &&
			mv_judge_raw(call);
	return mv_identify(call) &&
		mv_check_accept(call) &&
		mv_check_body_size(call) &&
		resolve(call, routes) &&
		mv_idempotency_begin(call) &&
		mv_read_body(call) &&
		mv_bind(call) &&
		mv_operate(call);
}

static void
record_usage(MvApiCall *call)
{
	MvUsage		usage = {
		.key_id = call->verdict.identified && call->verdict.has_key ? &call->verdict.key_id : NULL,
		.user_id = call->verdict.identified ? &call->verdict.user_id : NULL,
		.operation = call->response->operation,
		.operation_len = strlen(call->response->operation),
		.status = call->response->status,
		.refused = call->is_refused,
		.shadow = call->judged && call->verdict.allowed && call->verdict.reason != MV_ALLOWED,
		.duration_us = Max(now_us() - call->started_us, 0),
		.bytes_in = call->request->body_len,
		.bytes_out = call->is_head ? 0 : call->response->body_len
	};

	mv_usage_record(&usage);
}

void
mv_api_handle(const MvApiRequest *request, MvApiResponse *response)
{
	MvApiCall  *call = palloc(sizeof(MvApiCall));
	MvRoutes   *routes;

	memset(call, 0, offsetof(MvApiCall, segments));
	call->is_head = method_is(request, "HEAD");
	call->is_options = method_is(request, "OPTIONS");
	call->request = request;
	call->response = response;
	call->context = CurrentMemoryContext;
	call->started_us = request->received_us != 0 ? request->received_us : now_us();
	response->nheaders = 0;
	response->body = "";
	response->body_len = 0;
	response->status = 0;
	response->operation = "none";
	response->has_user = false;
	mv_take_request_id(call);

	routes = mv_routes_hold();
	PG_TRY();
	{
		bool		served = serve(call, routes);

		if (call->route != NULL)
			response->operation = pstrdup(call->route->operation);
		if (served)
			mv_render_result(call);
		else if (call->is_replay)
			mv_render_replay(call);
		else if (call->problem != NULL)
		{
			mv_render_problem(call);
			if (call->route != NULL && response->status == 405)
				mv_header(call, "Allow", mv_node_methods(call->node));
			mv_idempotency_keep_problem(call);
		}
		mv_render_headers(call);
	}
	PG_FINALLY();
	{
		mv_routes_release(routes);
	}
	PG_END_TRY();
	record_usage(call);
}
