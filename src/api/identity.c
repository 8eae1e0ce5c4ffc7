/*
 * Who makes a request. See identity.h.
 */
#include "postgres.h"

#include "api/identity.h"
#include "api/problem.h"
#include "core/caller.h"
#include "keys/key_text.h"
#include "keys/signature.h"

/* Finds the key in the headers. A Bearer that is none of ours is left to others. */
static bool
find_key(MvApiCall *call)
{
	const char *bearer = call->headers[MV_H_AUTHORIZATION];
	const char *key = call->headers[MV_H_API_KEY];

	if (bearer != NULL && pg_strncasecmp(bearer, "bearer ", 7) == 0)
	{
		bearer += 7;
		bearer += strspn(bearer, " ");
		if (strncmp(bearer, MV_KEY_PREFIX, MV_KEY_PREFIX_LEN) != 0)
			bearer = NULL;
	}
	else
		bearer = NULL;
	if (bearer != NULL && key != NULL && strcmp(bearer, key) != 0)
		return mv_problem(call, MV_P_BAD_REQUEST, "The headers Authorization and X-API-Key have different keys.");
	call->key = bearer != NULL ? bearer : key;
	call->key_len = call->key == NULL ? 0 : strlen(call->key);
	return true;
}

/* The decimal number of seconds in X-Timestamp; false when it is none. */
static bool
read_timestamp(const char *text, int64 *ts)
{
	char	   *end;

	if (!isdigit((unsigned char) text[0]) || strlen(text) > 15)
		return false;
	*ts = strtoll(text, &end, 10);
	return *end == '\0';
}

static bool
judge_key(MvApiCall *call)
{
	const MvRoute *route = call->route;
	const MvApiRequest *request = call->request;
	MvRequest	signed_request = {
		.method = request->method, .method_len = request->method_len,
		.path = request->target, .path_len = request->target_len,
		.body = request->body, .body_len = request->body_len
	};
	MvCall		question = {
		.key = call->key, .key_len = call->key_len,
		.scope = route->scope, .scope_len = route->scope == NULL ? 0 : strlen(route->scope),
		.client_ip = request->client_ip, .cost = route->cost
	};

	if (call->headers[MV_H_SIGNATURE] != NULL)
	{
		if (call->headers[MV_H_TIMESTAMP] == NULL || !read_timestamp(call->headers[MV_H_TIMESTAMP], &signed_request.ts))
			return mv_problem(call, MV_P_BAD_REQUEST, "X-Signature needs the header X-Timestamp, in seconds since 1970.");
		question.request = &signed_request;
		question.signatures = call->headers[MV_H_SIGNATURE];
		question.signatures_len = strlen(call->headers[MV_H_SIGNATURE]);
	}
	mv_verdict_key(&question, &call->verdict);
	call->judged = true;
	if (!call->verdict.allowed)
		call->detail = pstrdup(mv_reason_message(&call->verdict, &question));
	return true;
}

/* What a verdict that refuses means to the client */
static bool
refuse(MvApiCall *call)
{
	static const MvProblem problems[] = {
		[MV_MALFORMED] = MV_P_UNAUTHORIZED,
		[MV_UNKNOWN] = MV_P_UNAUTHORIZED,
		[MV_REVOKED] = MV_P_UNAUTHORIZED,
		[MV_EXPIRED] = MV_P_UNAUTHORIZED,
		[MV_SIGNATURE] = MV_P_UNAUTHORIZED,
		[MV_SCOPE] = MV_P_INSUFFICIENT_SCOPE,
		[MV_IP] = MV_P_ADDRESS_NOT_ALLOWED,
		[MV_RATE_LIMITED] = MV_P_RATE_LIMITED,
		[MV_QUOTA_EXCEEDED] = MV_P_QUOTA_EXCEEDED
	};
	char	   *detail = call->detail == NULL ? pstrdup(mv_reason_message(&call->verdict, NULL)) : call->detail;

	if (detail[0] >= 'a' && detail[0] <= 'z')
		detail[0] -= 'a' - 'A';
	call->is_refused = call->verdict.status != 401;
	return mv_problem(call, problems[call->verdict.reason], "%s.", detail);
}

bool
mv_identify(MvApiCall *call)
{
	pg_uuid_t	user_id;
	pg_uuid_t	key_id = {{0}};

	if (!find_key(call))
		return false;
	if (call->key != NULL)
	{
		if (!judge_key(call))
			return false;
	}
	else if (mv_caller(&user_id))
	{
		/* within a call by a key, whose scopes hold here too: they are seen only with the key */
		bool		by_key = mv_caller_key(&key_id);

		if (by_key && call->route->scope != NULL)
			return mv_problem(call, MV_P_UNAUTHORIZED, "The caller came by an API key, which has to be sent along.");
		mv_verdict_user(&user_id, call->route->cost, &call->verdict);
		call->judged = true;
		call->verdict.has_key = by_key;
		call->verdict.key_id = key_id;
	}
	else if (call->route->needs_key)
		return mv_problem(call, MV_P_UNAUTHORIZED, "Send an API key as \"Authorization: Bearer mvai_...\" or in the header X-API-Key.");
	else
	{
		mv_verdict_address(call->request->client_ip, call->route->cost, &call->verdict);
		call->judged = true;
	}
	if (call->verdict.identified)
	{
		call->response->has_user = true;
		call->response->user_id = call->verdict.user_id;
	}
	return call->verdict.allowed ? true : refuse(call);
}

/* --- raw routes ------------------------------------------------------------ */

bool
mv_identify_raw(MvApiCall *call)
{
	mv_verdict_proof(call->request->client_ip, call->route->cost, &call->verdict);
	call->judged = true;
	return call->verdict.allowed ? true : refuse(call);
}

bool
mv_judge_raw(MvApiCall *call)
{
	int			status = call->result == NULL ? 0 : atoi(call->result);

	call->result = NULL;
	call->result_len = 0;
	if (status >= 200 && status <= 299)
	{
		call->raw_status = status;
		return true;
	}
	if (status == 401)
	{
		mv_false_proof(call->request->client_ip, call->route->cost);
		return mv_problem(call, MV_P_BAD_SIGNATURE, "It is missing, wrong, or too old.");
	}
	if (status < 400 || status > 599)
	{
		ereport(LOG_SERVER_ONLY,
				(errmsg("request %s: operation %s returned %d, which is no status to answer",
						call->request_id, call->route->operation, status)));
		status = 500;
	}
	return mv_problem_of_status(call, status);
}
