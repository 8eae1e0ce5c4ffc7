/*
 * Cross-origin requests of browsers (the CORS protocol of the Fetch standard).
 */
#ifndef MV_CORS_H
#define MV_CORS_H

#include "postgres.h"

#include "api/call.h"

/* Defines musicverse.cors_allowed_origins. */
extern void mv_cors_init(void);

/* The headers of an answer, when its request's origin is allowed. */
extern void mv_render_cors(MvApiCall *call);

#endif							/* MV_CORS_H */
