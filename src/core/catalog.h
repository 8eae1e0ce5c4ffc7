/*
 * Where the extension's own objects are: looked up by name once, forgotten
 * when an invalidation of the table of webhooks says that they may be gone.
 */
#ifndef MV_CATALOG_H
#define MV_CATALOG_H

#include "postgres.h"

#include "access/tupdesc.h"

#define MV_SCHEMA "musicverse"

typedef struct MvCatalog
{
	Oid			extension;
	Oid			owner;			/* of the extension */
	Oid			schema;
	Oid			accounts;
	Oid			accounts_pkey;
	Oid			events;
	Oid			event_log;
	Oid			deliveries;
	Oid			attempts;
	Oid			endpoints;
	Oid			endpoints_user_idx;
	Oid			tiers;
	Oid			tiers_pkey;
	Oid			api_keys;
	Oid			api_keys_hash_idx;
	Oid			exposed_roles;
	Oid			quota_usage;
	Oid			quota_usage_pkey;
	Oid			routes;
	Oid			request_scopes;
	Oid			api_versions;
	Oid			api_schemas;
	Oid			event_types;
	Oid			idempotency_keys;
	Oid			idempotency_keys_pkey;
} MvCatalog;

/* Registers the relcache callback. Called from _PG_init. */
extern void mv_catalog_init(void);

/*
 * The objects, or NULL when the extension isn't created in this database.
 * Needs a transaction. Cheap when nothing changed.
 */
extern const MvCatalog *mv_catalog_try(void);

/* The same, but raises 3F000 with a hint when the extension isn't there. */
extern const MvCatalog *mv_catalog(void);

/*
 * Grows by one whenever the table of webhooks changed or went away; caches
 * that depend on it compare.
 */
extern uint64 mv_endpoints_generation;

/* The same for the roles of the host and who is a member of which. */
extern uint64 mv_roles_generation;

/* The same for the routes of the API, its versions and the scopes of requests. */
extern uint64 mv_routes_generation;

/* The same for what the API is described by: routes, schemas, types of events. */
extern uint64 mv_description_generation;

/*
 * Holds the extension until the end of the transaction: DROP EXTENSION waits,
 * or went first, which is then seen here. InvalidOid when it is gone.
 */
extern Oid	mv_catalog_lock_extension(void);

/* The number of a column by its name. Raises when there is none. */
extern AttrNumber mv_attnum(TupleDesc desc, const char *name);

#endif							/* MV_CATALOG_H */
