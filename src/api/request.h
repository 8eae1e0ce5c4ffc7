/*
 * Reading a request: its target, its headers, its body.
 */
#ifndef MV_API_REQUEST_H
#define MV_API_REQUEST_H

#include "postgres.h"

#include "api/call.h"

/* Settings. Called from mv_dispatch_init. */
extern void mv_body_init(void);

/*
 * Splits the target into decoded segments and parameters, and adds the
 * parameters that came beside it. Refuses what isn't well-formed. Never raises.
 */
extern bool mv_read_target(MvApiCall *call);

/* Finds the headers that matter. Refuses those that may stand only once and don't. */
extern bool mv_read_headers(MvApiCall *call);

/* Takes the client's request id, or makes one. */
extern void mv_take_request_id(MvApiCall *call);

/* Does the client take what the route answers with? */
extern bool mv_check_accept(MvApiCall *call);

/* Refuses a body above musicverse.max_request_body. */
extern bool mv_check_body_size(MvApiCall *call);

/*
 * Reads the body as a JSON object, by the server's parser. Refuses other types
 * of content, what isn't valid, nested too deeply or has a key twice, and says
 * where.
 */
extern bool mv_read_body(MvApiCall *call);

/* Appends a text as it may stand in a query. */
extern void mv_append_encoded(StringInfo out, const char *text);

#endif							/* MV_API_REQUEST_H */
