/*
 * What a request asks for: the operation of its path, the scope that a key
 * needs for it, and what it costs. Routes of the API are in musicverse.routes,
 * whatever else a host exposes in musicverse.request_scopes.
 */
#ifndef MV_OPERATION_H
#define MV_OPERATION_H

#include "postgres.h"

typedef struct MvOperation
{
	const char *name;			/* for the usage; constant, or until the next look-up */
	const char *scope;			/* NULL = any key may; "" = only a key without scopes */
	int			cost;
	bool		needs_key;		/* of the catalogue, and not for everybody */
} MvOperation;

/*
 * The operation of a request as PostgREST tells it: the path as it was sent,
 * the version by the schema that search_path begins with. HEAD counts as GET.
 * What neither table knows is the operation "other", for keys without scopes
 * only, at a cost of 1. Needs a transaction; takes AccessShareLock on both
 * tables after they were changed.
 */
extern void mv_operation_find(const char *method, const char *path, MvOperation *operation);

#endif							/* MV_OPERATION_H */
