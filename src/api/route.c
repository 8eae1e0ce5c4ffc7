/*
 * The catalogue of routes. See route.h.
 *
 * A catalogue lives in a context of its own. Who answers a request holds it;
 * one that is out of date goes when nobody does. Functions are looked up when
 * a route is first called, and again after a change of that function.
 *
 * Locks: AccessShareLock on routes and api_versions while they are read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "api/call.h"
#include "api/route.h"
#include "api/route_int.h"
#include "core/catalog.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

const char *const mv_method_names[MV_METHODS] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

static MvRoutes *current = NULL;

/* Never raises, never looks anything up. */
static void
function_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current != NULL)
		for (int i = 0; i < current->nroutes; i++)
			if (hashvalue == 0 || current->routes[i]->hash == hashvalue)
				current->routes[i]->is_resolved = false;
}

void
mv_route_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
}

/* --- reading --------------------------------------------------------------- */

typedef struct Reader
{
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
} Reader;

static void
begin_reading(Reader *reader, Oid relid)
{
	reader->rel = table_open(relid, AccessShareLock);
	reader->snapshot = RegisterSnapshot(GetLatestSnapshot());
	reader->scan = table_beginscan(reader->rel, reader->snapshot, 0, NULL);
	reader->slot = table_slot_create(reader->rel, NULL);
}

static void
end_reading(Reader *reader)
{
	ExecDropSingleTupleTableSlot(reader->slot);
	table_endscan(reader->scan);
	UnregisterSnapshot(reader->snapshot);
	table_close(reader->rel, AccessShareLock);
}

static Datum
column(Reader *reader, const char *name, bool *isnull)
{
	return slot_getattr(reader->slot, mv_attnum(RelationGetDescr(reader->rel), name), isnull);
}

static const char *
text_column(Reader *reader, const char *name)
{
	bool		isnull;
	Datum		value = column(reader, name, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static Jsonb *
json_column(Reader *reader, const char *name)
{
	bool		isnull;
	Datum		value = column(reader, name, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

static bool
bool_column(Reader *reader, const char *name)
{
	bool		isnull;

	return DatumGetBool(column(reader, name, &isnull));
}

static int
int_column(Reader *reader, const char *name)
{
	bool		isnull;

	return DatumGetInt32(column(reader, name, &isnull));
}

static List *
read_versions(void)
{
	Reader		reader;
	List	   *versions = NIL;

	begin_reading(&reader, mv_catalog()->api_versions);
	while (table_scan_getnextslot(reader.scan, ForwardScanDirection, reader.slot))
	{
		MvVersion  *version = palloc0(sizeof(MvVersion));
		bool		isnull;
		Datum		value;

		version->name = text_column(&reader, "version");
		version->successor = text_column(&reader, "successor");
		version->deprecated_at = DatumGetTimestampTz(column(&reader, "deprecated_at", &isnull));
		value = column(&reader, "sunset_at", &isnull);
		version->sunset_at = isnull ? DT_NOEND : DatumGetTimestampTz(value);
		versions = lappend(versions, version);
	}
	end_reading(&reader);
	return versions;
}

static MvRoute *
read_route(Reader *reader, List *versions)
{
	MvRoute    *route = palloc0(sizeof(MvRoute));
	const char *method = text_column(reader, "method");
	bool		isnull;
	ListCell   *cell;

	for (int m = 0; m < MV_METHODS; m++)
		if (strcmp(method, mv_method_names[m]) == 0)
			route->method = m;
	route->version = text_column(reader, "version");
	route->path = text_column(reader, "path");
	route->operation = pstrdup(NameStr(*DatumGetName(column(reader, "operation", &isnull))));
	route->scope = text_column(reader, "scope");
	route->response_type = text_column(reader, "response_type");
	route->needs_key = bool_column(reader, "needs_key");
	route->cost = int_column(reader, "cost");
	route->status = int_column(reader, "status");
	route->parameters = json_column(reader, "parameters");
	route->request_schema = json_column(reader, "request_schema");
	route->is_list = bool_column(reader, "is_list");
	route->has_etag = bool_column(reader, "has_etag");
	route->is_raw = bool_column(reader, "is_raw");
	foreach(cell, versions)
		if (strcmp(((MvVersion *) lfirst(cell))->name, route->version) == 0)
			route->deprecated = lfirst(cell);
	return route;
}

/* --- the tree -------------------------------------------------------------- */

static MvNode *
child(MvNode *node, const char *segment, int len)
{
	MvNode	   *made;

	for (int i = 0; i < node->nchildren; i++)
		if (node->children[i]->len == len && memcmp(node->children[i]->segment, segment, len) == 0)
			return node->children[i];
	made = palloc0(sizeof(MvNode));
	made->segment = pnstrdup(segment, len);
	made->len = len;
	node->children = node->children == NULL ? palloc(sizeof(MvNode *)) :
		repalloc(node->children, (node->nchildren + 1) * sizeof(MvNode *));
	node->children[node->nchildren++] = made;
	return made;
}

/* Adds a route at its place. False when its template isn't made of whole segments. */
static bool
plant(MvNode *root, MvRoute *route)
{
	const char *at = route->path;
	MvNode	   *node = root;
	int			depth = 0;

	route->params = palloc(MV_MAX_SEGMENTS * sizeof(char *));
	while (*at == '/')
	{
		int			len = strcspn(++at, "/");

		if (len == 0 || ++depth > MV_MAX_SEGMENTS)
			return false;
		if (at[0] == '{' && at[len - 1] == '}' && len > 2)
		{
			route->params[route->nparams++] = pnstrdup(at + 1, len - 2);
			if (node->parameter == NULL)
				node->parameter = palloc0(sizeof(MvNode));
			node = node->parameter;
		}
		else if (memchr(at, '{', len) != NULL || memchr(at, '}', len) != NULL)
			return false;
		else
			node = child(node, at, len);
		at += len;
	}
	if (*at != '\0' || depth == 0 || node->routes[route->method] != NULL)
		return false;
	node->routes[route->method] = route;
	return true;
}

static int
by_segment(const void *a, const void *b)
{
	const MvNode *one = *(MvNode *const *) a;
	const MvNode *other = *(MvNode *const *) b;

	return strcmp(one->segment, other->segment);
}

static void
sort_children(MvNode *node)
{
	if (node->nchildren > 1)
		qsort(node->children, node->nchildren, sizeof(MvNode *), by_segment);
	for (int i = 0; i < node->nchildren; i++)
		sort_children(node->children[i]);
	if (node->parameter != NULL)
		sort_children(node->parameter);
}

static const MvNode *
literal(const MvNode *node, const char *segment)
{
	int			low = 0;
	int			high = node->nchildren;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = strcmp(segment, node->children[middle]->segment);

		if (order == 0)
			return node->children[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static const MvNode *
find(const MvNode *node, const char *const *segments, int nsegments, const char **values)
{
	const MvNode *next;
	const MvNode *found;

	if (nsegments == 0)
	{
		for (int m = 0; m < MV_METHODS; m++)
			if (node->routes[m] != NULL)
				return node;
		return NULL;
	}
	next = literal(node, segments[0]);
	found = next == NULL ? NULL : find(next, segments + 1, nsegments - 1, values);
	if (found != NULL || node->parameter == NULL || segments[0][0] == '\0')
		return found;
	values[0] = segments[0];
	return find(node->parameter, segments + 1, nsegments - 1, values + 1);
}

const MvNode *
mv_routes_match(const MvRoutes *routes, const char *const *segments, int nsegments, const char **values)
{
	return find(routes->root, segments, nsegments, values);
}

MvRoute *
mv_node_route(const MvNode *node, MvMethod method)
{
	return node->routes[method];
}

char *
mv_node_methods(const MvNode *node)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int m = 0; m < MV_METHODS; m++)
		if (node == NULL || node->routes[m] != NULL)
			appendStringInfo(&list, m == MV_GET ? "%s, HEAD, " : "%s, ", mv_method_names[m]);
	appendStringInfoString(&list, "OPTIONS");
	return list.data;
}

/* --- its life -------------------------------------------------------------- */

static void
discard(MvRoutes *routes)
{
	for (int i = 0; i < routes->nroutes; i++)
		for (int p = 0; p < routes->routes[i]->nplans; p++)
			SPI_freeplan(routes->routes[i]->plans[p].plan);
	MemoryContextDelete(routes->context);
}

static MvRoutes *
load(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "musicverse routes", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller_context = MemoryContextSwitchTo(context);
	MvRoutes   *routes = palloc0(sizeof(MvRoutes));
	int			room = 64;
	List	   *versions;
	Reader		reader;

	routes->context = context;
	routes->root = palloc0(sizeof(MvNode));
	routes->routes = palloc(room * sizeof(MvRoute *));
	mv_catalog();				/* which may find that all changed */
	routes->generation = mv_routes_generation;
	versions = read_versions();
	begin_reading(&reader, mv_catalog()->routes);
	while (table_scan_getnextslot(reader.scan, ForwardScanDirection, reader.slot))
	{
		MvRoute    *route = read_route(&reader, versions);

		if (!plant(routes->root, route))
		{
			ereport(LOG,
					(errmsg("route %s %s of the API is left out: its path is not made of whole segments, or another route has the same",
							mv_method_names[route->method], route->path)));
			continue;
		}
		if (routes->nroutes == room)
			routes->routes = repalloc(routes->routes, (room *= 2) * sizeof(MvRoute *));
		routes->routes[routes->nroutes++] = route;
	}
	end_reading(&reader);
	sort_children(routes->root);
	MemoryContextSwitchTo(caller_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	return routes;
}

MvRoutes *
mv_routes_hold(void)
{
	if (current == NULL || current->generation != mv_routes_generation)
	{
		MvRoutes   *made = load();

		if (current != NULL && current->holders == 0)
			discard(current);
		current = made;
	}
	current->holders++;
	return current;
}

void
mv_routes_release(MvRoutes *routes)
{
	if (--routes->holders == 0 && routes != current)
		discard(routes);
}
