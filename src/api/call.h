/*
 * A request on its way through the dispatcher. Each step reads what the steps
 * before it filled in; one that fails sets the problem and returns false.
 */
#ifndef MV_API_CALL_H
#define MV_API_CALL_H

#include "postgres.h"

#include "api/dispatch.h"
#include "api/route.h"
#include "keys/cache.h"
#include "keys/keys.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#define MV_MAX_SEGMENTS		32
#define MV_MAX_TARGET		8192
#define MV_MAX_PARAMETERS	100

/* The headers that mean something to the dispatcher */
typedef enum MvHeaderName
{
	MV_H_ACCEPT,
	MV_H_REQUEST_METHOD,		/* Access-Control-Request-Method */
	MV_H_AUTHORIZATION,
	MV_H_CONTENT_ENCODING,
	MV_H_CONTENT_TYPE,
	MV_H_IDEMPOTENCY_KEY,
	MV_H_IF_NONE_MATCH,
	MV_H_ORIGIN,
	MV_H_API_KEY,
	MV_H_REQUEST_ID,
	MV_H_SIGNATURE,
	MV_H_TIMESTAMP,
	MV_HEADERS
} MvHeaderName;

/* Decoded; NUL-terminated, without another NUL, in the database's encoding */
typedef struct MvParameter
{
	const char *name;
	const char *value;
} MvParameter;

/* What is wrong with one member or parameter */
typedef struct MvFieldError
{
	const char *kind;			/* "field" with a JSON pointer, "parameter" or "header" with a name */
	const char *field;
	const char *message;
} MvFieldError;

struct MvProblemType;

typedef struct MvApiCall
{
	const MvApiRequest *request;
	MvApiResponse *response;
	MemoryContext context;
	int64		started_us;

	/* target.c */
	const char *path;			/* as sent, without the query; NUL-terminated */
	int			nsegments;
	int			nparameters;

	/* headers.c */
	const char *headers[MV_HEADERS];	/* NUL-terminated, trimmed; NULL = not sent */
	char		request_id[129];

	/* route.c */
	MvRoute    *route;
	const MvNode *node;			/* the place of the path */
	bool		is_head;
	bool		is_options;

	/* identity.c */
	bool		judged;
	bool		is_refused;		/* by a limit, a scope or an address */
	MvVerdict	verdict;
	const char *key;			/* the text of the key; NULL = none */
	int			key_len;

	/* body.c */
	Jsonb	   *body;			/* an object; NULL = none was sent */

	/* bind.c */
	uint64		given;			/* which arguments */

	/* idempotency.c */
	char	   *idempotency_key;	/* which this call holds; NULL = none */
	unsigned char request_digest[MV_HASH_LEN];
	bool		is_kept;		/* the answer, with the operation */
	bool		is_replay;		/* what is kept is the answer, its body the result */
	int			replay_status;
	const char *replay_type;

	/* operate.c */
	bool		has_run;
	char	   *result;			/* NULL = SQL's null, or nothing is returned */
	Size		result_len;
	int			raw_status;		/* of a raw route; there is no result then */

	/* problem.c */
	const struct MvProblemType *problem;	/* NULL = none */
	int			problem_status;
	char	   *detail;
	char	   *hint;
	List	   *errors;			/* MvFieldError */

	/* What is read only as far as it was filled, so is not set to zero */
	const char *segments[MV_MAX_SEGMENTS];	/* decoded */
	const char *path_values[MV_MAX_SEGMENTS];	/* of the route's parameters */
	MvParameter parameters[MV_MAX_PARAMETERS];
	Datum		values[MV_MAX_ARGUMENTS];
	char		nulls[MV_MAX_ARGUMENTS];	/* as SPI has it */
} MvApiCall;

#endif							/* MV_API_CALL_H */
