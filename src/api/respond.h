/*
 * What an answer is made of beside its body.
 */
#ifndef MV_RESPOND_H
#define MV_RESPOND_H

#include "postgres.h"

#include "api/call.h"

/* Adds a header; the value must outlive the call. One too many is left out. */
extern void mv_header(MvApiCall *call, const char *name, const char *value);

/* The text with everything but printable ASCII as '?', of no more than 1000 characters. */
extern char *mv_printable(const char *text);

/* The answer of an operation that succeeded, with ETag and Link where the route has them. */
extern void mv_render_result(MvApiCall *call);

/* X-Request-Id, the limits, what CORS and a deprecated version need. Last of all. */
extern void mv_render_headers(MvApiCall *call);

#endif							/* MV_RESPOND_H */
