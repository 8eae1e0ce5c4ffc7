/*
 * The catalogue of routes in the memory of the process, compiled to a matcher
 * by segments of the path; made anew after a change of the tables routes or
 * api_versions.
 */
#ifndef MV_ROUTE_H
#define MV_ROUTE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/jsonb.h"

#define MV_MAX_ARGUMENTS	64
#define MV_PLANS			16

typedef enum MvMethod
{
	MV_GET,
	MV_POST,
	MV_PUT,
	MV_PATCH,
	MV_DELETE,
	MV_METHODS
} MvMethod;

extern const char *const mv_method_names[MV_METHODS];

typedef enum MvSource
{
	MV_FROM_PATH,
	MV_FROM_QUERY,
	MV_FROM_BODY,				/* a member of the JSON object */
	MV_FROM_RAW_BODY,			/* _body, of a raw route body: the body as it was sent */
	MV_FROM_HEADERS				/* _headers, of a raw route headers: all headers */
} MvSource;

typedef struct MvArgument
{
	const char *name;
	Oid			type;
	Oid			element;		/* of an array; else the type */
	FmgrInfo	input;			/* of the element */
	Oid			io_param;
	const char *type_name;		/* of the element, for messages */
	bool		is_array;
	bool		has_default;
	MvSource	source;
	int			place;			/* in the path */
	bool		is_constant;	/* its default is */
	bool		null_constant;
	Datum		constant;
} MvArgument;

struct MvEvaluation;

typedef struct MvPlan
{
	uint64		given;
	SPIPlanPtr	plan;
	struct MvEvaluation *evaluation;	/* operate.c; goes with the plan */
} MvPlan;

typedef struct MvVersion
{
	const char *name;
	TimestampTz deprecated_at;
	TimestampTz sunset_at;		/* DT_NOEND = not planned */
	const char *successor;		/* may be NULL */
} MvVersion;

typedef struct MvRoute
{
	const char *version;
	MvMethod	method;
	const char *path;
	const char *operation;
	const char *scope;			/* NULL = any key will do */
	bool		needs_key;
	int			cost;
	int			status;
	const char *response_type;
	Jsonb	   *parameters;
	Jsonb	   *request_schema; /* NULL = no body */
	bool		is_list;
	bool		has_etag;
	bool		is_raw;			/* returns the status, proves its caller itself */
	const MvVersion *deprecated;	/* NULL = it isn't */
	int			nparams;
	const char **params;		/* of the path, in its order */

	/* of the function, looked up at the first call */
	bool		is_resolved;
	uint32		hash;			/* by which its invalidation comes */
	Oid			function;
	Oid			returns;
	bool		read_only;		/* not volatile */
	bool		takes_json;
	int			nargs;
	MvArgument *args;
	MemoryContext args_context; /* of args, and of what they point to */
	int			busy;			/* calls that run, nested in one another */
	bool		is_strict;
	bool		can_invoke;		/* invoke.c */
	bool		is_set_up;		/* flinfo is good for another call */
	int			resolutions;	/* how often the function was looked up */
	FmgrInfo	flinfo;
	MemoryContext call_context; /* of flinfo */
	int			nplans;
	int			next_plan;		/* which one gives way */
	MvPlan		plans[MV_PLANS];
} MvRoute;

typedef struct MvNode MvNode;
typedef struct MvRoutes MvRoutes;

extern void mv_route_init(void);

/*
 * The current catalogue, held until mv_routes_release(), also when it is made
 * anew meanwhile. Reads by a fresh snapshot. AccessShareLock on both tables.
 */
extern MvRoutes *mv_routes_hold(void);
extern void mv_routes_release(MvRoutes *routes);

/*
 * The place of a path, where literal segments win over parameters; NULL when
 * there is none. values gets what the parameters stand for.
 */
extern const MvNode *mv_routes_match(const MvRoutes *routes, const char *const *segments, int nsegments, const char **values);
extern MvRoute *mv_node_route(const MvNode *node, MvMethod method);

/* "GET, HEAD, OPTIONS"; palloc'd. NULL stands for all paths. */
extern char *mv_node_methods(const MvNode *node);

/*
 * Looks up the function of a route, unless that was done. False when there is
 * none that can be called, with the reason for the log.
 */
extern bool mv_route_resolve(MvRoutes *routes, MvRoute *route, const char **why);

#endif							/* MV_ROUTE_H */
