/*
 * The door of this room: a request comes in, by whichever transport, and an
 * answer goes out. The gateway, handle_request() and whoever else speaks HTTP
 * fill in the one and send the other.
 */
#ifndef MV_DISPATCH_H
#define MV_DISPATCH_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/inet.h"
#include "utils/uuid.h"

/* A header or a parameter; nothing is NUL-terminated, nothing need be valid UTF-8 */
typedef struct MvField
{
	const char *name;			/* of a header: in small letters */
	Size		name_len;
	const char *value;
	Size		value_len;
} MvField;

typedef struct MvApiRequest
{
	const char *method;
	Size		method_len;
	const char *target;			/* as it was sent: path, percent-encoded, and the query behind '?' */
	Size		target_len;
	const MvField *query;		/* decoded parameters beside those of the target */
	int			nquery;
	const MvField *headers;
	int			nheaders;
	const char *body;
	Size		body_len;
	const inet *client_ip;		/* NULL = not known */
	bool		owns_transaction;	/* nothing else is in it: what is deferred can be done with the operation */
	int64		received_us;	/* by the monotonic clock, for the duration in the usage; 0 = now */
} MvApiRequest;

#define MV_MAX_RESPONSE_HEADERS 32

typedef struct MvHeader
{
	const char *name;			/* as it is sent, such as "RateLimit-Policy" */
	const char *value;			/* printable, without a line's end */
} MvHeader;

typedef struct MvApiResponse
{
	int			status;
	MvHeader	headers[MV_MAX_RESPONSE_HEADERS];	/* without Content-Length, Date and Connection */
	int			nheaders;
	const char *body;			/* NUL-terminated behind body_len, valid in the database's encoding */
	Size		body_len;		/* for HEAD that of the GET, although nothing is sent */

	/* for the access log and the metrics */
	const char *operation;		/* "none" when no route matched */
	bool		has_user;
	pg_uuid_t	user_id;
	const char *request_id;
} MvApiResponse;

/* musicverse.max_request_body, in bytes */
extern int	mv_max_request_body;

/* Settings and callbacks. Called from _PG_init. */
extern void mv_dispatch_init(void);

/*
 * Answers a request within the current transaction: finds the route, verifies
 * the key, takes the tokens, holds POSTs to their Idempotency-Key, runs the
 * operation as the role musicverse_api on behalf of the key's user, in a
 * subtransaction that is rolled back when it fails, and counts the usage. All
 * memory is in the current context. Never raises for what the request looks
 * like or for what the operation raises: both are answers, the latter a 500
 * whose request id is in the log. Raises on cancel, termination and running
 * out of memory. Needs an active snapshot and SPI not connected.
 */
extern void mv_api_handle(const MvApiRequest *request, MvApiResponse *response);

#endif							/* MV_DISPATCH_H */
