/*
 * Problem details (RFC 9457): what is answered when a request can't be served.
 */
#ifndef MV_PROBLEM_H
#define MV_PROBLEM_H

#include "postgres.h"

#include "api/call.h"
#include "utils/elog.h"

/* The order is that of the table in problem.c; docs/rest.md has each. */
typedef enum MvProblem
{
	MV_P_BAD_REQUEST,
	MV_P_UNAUTHORIZED,
	MV_P_BAD_SIGNATURE,
	MV_P_FORBIDDEN,
	MV_P_INSUFFICIENT_SCOPE,
	MV_P_ADDRESS_NOT_ALLOWED,
	MV_P_LIMIT_REACHED,
	MV_P_NOT_FOUND,
	MV_P_METHOD_NOT_ALLOWED,
	MV_P_NOT_ACCEPTABLE,
	MV_P_CONFLICT,
	MV_P_ALREADY_EXISTS,
	MV_P_IDEMPOTENCY_IN_FLIGHT,
	MV_P_CONTENT_TOO_LARGE,
	MV_P_URI_TOO_LONG,
	MV_P_UNSUPPORTED_MEDIA_TYPE,
	MV_P_INVALID_REQUEST,
	MV_P_IDEMPOTENCY_KEY_REUSED,
	MV_P_RATE_LIMITED,
	MV_P_QUOTA_EXCEEDED,
	MV_P_INTERNAL_ERROR,
	MV_P_NOT_IMPLEMENTED,
	MV_P_UNAVAILABLE,
	MV_P_OTHER					/* about:blank with a status of its own */
} MvProblem;

/* Sets the problem, unless there is one; returns false, for the caller to pass on. */
extern bool mv_problem(MvApiCall *call, MvProblem problem, const char *detail,...) pg_attribute_printf(3, 4);

/* As many errors as are kept; who looks for more may stop. */
#define MV_MAX_ERRORS	50

/* Adds to errors[]; field and message must outlive the call. */
extern void mv_field_error(MvApiCall *call, const char *kind, const char *field, const char *message);

/*
 * What an error of an operation means to the client. What it doesn't concern
 * goes to the log with the request's id.
 */
extern void mv_problem_of_error(MvApiCall *call, const ErrorData *error);

/* Puts the problem into the response: status, Content-Type, body. */
extern void mv_render_problem(MvApiCall *call);

/* The name and the title of the type that goes with a status; NULL where there is none of ours. Never raises. */
extern const char *mv_problem_type(int status, const char **title);

/* The problem that goes with a status of 400 to 599, without a detail; returns false. */
extern bool mv_problem_of_status(MvApiCall *call, int status);

#endif							/* MV_PROBLEM_H */
