/*
 * The operation of a request. See operation.h.
 *
 * Both tables are small and are kept whole, read by plain scans: these need no
 * rights of the caller and work in any transaction. A statement trigger on
 * either sends an invalidation of the relation, transactional and across
 * processes; the callback in core/catalog.c only counts.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "core/catalog.h"
#include "keys/operation.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SCHEMA_PREFIX	"musicverse_"
#define RPC				"/rpc/"
#define MAX_PATH		512		/* longer ones are nobody's */

/* A row of routes: the function of a version's schema */
typedef struct Route
{
	char	   *version;
	char	   *name;
	int			name_len;
	char	   *scope;
	int			cost;
	bool		needs_key;
} Route;

/* A row of request_scopes */
typedef struct Rule
{
	char	   *method;
	char	   *path;			/* as the table has it */
	int			len;			/* without the asterisk at its end */
	bool		is_prefix;
	char	   *scope;
	int			cost;
} Rule;

typedef struct Known
{
	MemoryContext context;
	int			nroutes;
	Route	   *routes;
	int			nrules;
	Rule	   *rules;			/* the first that matches counts */
} Known;

static Known known;
static uint64 known_generation = 0;

/* ---- what is kept ---- */

/* A column of the row as a string, NULL for null */
static char *
string(TupleTableSlot *slot, Relation table, const char *name)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, mv_attnum(RelationGetDescr(table), name), &isnull);
	Oid			type = TupleDescAttr(RelationGetDescr(table), mv_attnum(RelationGetDescr(table), name) - 1)->atttypid;

	if (isnull)
		return NULL;
	return type == NAMEOID ? pstrdup(NameStr(*DatumGetName(value))) : TextDatumGetCString(value);
}

static int
number(TupleTableSlot *slot, Relation table, const char *name)
{
	bool		isnull;

	return DatumGetInt32(slot_getattr(slot, mv_attnum(RelationGetDescr(table), name), &isnull));
}

static void
take_route(Known *into, TupleTableSlot *slot, Relation table)
{
	Route	   *route = &into->routes[into->nroutes++];
	bool		isnull;

	route->version = string(slot, table, "version");
	route->name = string(slot, table, "operation");
	route->name_len = strlen(route->name);
	route->scope = string(slot, table, "scope");
	route->cost = number(slot, table, "cost");
	route->needs_key = DatumGetBool(slot_getattr(slot, mv_attnum(RelationGetDescr(table), "needs_key"), &isnull));
}

static void
take_rule(Known *into, TupleTableSlot *slot, Relation table)
{
	Rule	   *rule = &into->rules[into->nrules++];

	rule->method = string(slot, table, "method");
	rule->path = string(slot, table, "path");
	rule->len = strlen(rule->path);
	rule->is_prefix = rule->len > 0 && rule->path[rule->len - 1] == '*';
	rule->len -= rule->is_prefix;
	rule->scope = string(slot, table, "scope");
	rule->cost = number(slot, table, "cost");
}

/* Longer paths first, exact before open ones, those of one method before those of any */
static int
by_precedence(const void *a, const void *b)
{
	const Rule *x = a;
	const Rule *y = b;

	if (x->len != y->len)
		return y->len - x->len;
	if (x->is_prefix != y->is_prefix)
		return x->is_prefix - y->is_prefix;
	return (x->method[0] == '*') - (y->method[0] == '*');
}

/* Calls the function for each row, with room made for one more in the array. */
static void
read_table(Known *into, Oid relid, void **array, int *count, Size size, void (*take) (Known *, TupleTableSlot *, Relation))
{
	Relation	table = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = table_beginscan(table, snapshot, 0, NULL);
	int			room = 64;

	*array = palloc(room * size);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		if (*count == room)
			*array = repalloc(*array, (room *= 2) * size);
		take(into, slot, table);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(table, AccessShareLock);
}

/* Reads both tables, unless nothing has changed. An error leaves what was known, to be read again. */
static void
refresh(void)
{
	const MvCatalog *catalog;
	uint64		generation;
	Known		fresh = {0};
	MemoryContext old;

	mv_catalog();				/* without it nothing tells of changes */
	if (likely(known_generation == mv_routes_generation))
		return;
	AcceptInvalidationMessages();
	catalog = mv_catalog();
	generation = mv_routes_generation;

	fresh.context = AllocSetContextCreate(CurrentMemoryContext, "musicverse operations", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(fresh.context);
	read_table(&fresh, catalog->routes, (void **) &fresh.routes, &fresh.nroutes, sizeof(Route), take_route);
	read_table(&fresh, catalog->request_scopes, (void **) &fresh.rules, &fresh.nrules, sizeof(Rule), take_rule);
	MemoryContextSwitchTo(old);
	qsort(fresh.rules, fresh.nrules, sizeof(Rule), by_precedence);

	MemoryContextSetParent(fresh.context, TopMemoryContext);
	if (known.context != NULL)
		MemoryContextDelete(known.context);
	known = fresh;
	known_generation = generation;
}

/* ---- the look-up ---- */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The path as PostgREST understands it: without percent-encoding. -1 when it is longer than any that is known. */
static int
decode(const char *path, char *into)
{
	int			len = 0;

	while (*path != '\0')
	{
		if (len == MAX_PATH)
			return -1;
		if (path[0] == '%' && hex_digit(path[1]) >= 0 && hex_digit(path[2]) >= 0)
		{
			into[len++] = (char) (hex_digit(path[1]) << 4 | hex_digit(path[2]));
			path += 3;
		}
		else
			into[len++] = *path++;
	}
	return len;
}

/* The version whose schema search_path begins with; false when that is another one. */
static bool
first_version(char version[NAMEDATALEN])
{
	const char *at = namespace_search_path;
	bool		quoted;
	int			len = 0;

	while (isspace((unsigned char) *at))
		at++;
	quoted = *at == '"';
	at += quoted;
	if (strncmp(at, SCHEMA_PREFIX, strlen(SCHEMA_PREFIX)) != 0)
		return false;
	for (at += strlen(SCHEMA_PREFIX); isalnum((unsigned char) *at) && len < NAMEDATALEN - 1; at++)
		version[len++] = *at;
	version[len] = '\0';
	return quoted ? *at == '"' : *at == '\0' || *at == ',' || isspace((unsigned char) *at);
}

static const Route *
find_route(const char *path, int len)
{
	char		version[NAMEDATALEN];

	if (len <= (int) strlen(RPC) || memcmp(path, RPC, strlen(RPC)) != 0 || !first_version(version))
		return NULL;
	path += strlen(RPC);
	len -= strlen(RPC);
	for (const Route *route = known.routes; route < known.routes + known.nroutes; route++)
		if (route->name_len == len && memcmp(route->name, path, len) == 0 && strcmp(route->version, version) == 0)
			return route;
	return NULL;
}

static const Rule *
find_rule(const char *method, const char *path, int len)
{
	for (const Rule *rule = known.rules; rule < known.rules + known.nrules; rule++)
		if ((rule->is_prefix ? len >= rule->len : len == rule->len) && memcmp(rule->path, path, rule->len) == 0 &&
			(rule->method[0] == '*' || strcmp(rule->method, method) == 0))
			return rule;
	return NULL;
}

void
mv_operation_find(const char *method, const char *path, MvOperation *operation)
{
	char		decoded[MAX_PATH];
	int			len = decode(path, decoded);
	const Route *route = NULL;
	const Rule *rule = NULL;

	refresh();
	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	if (len >= 0 && (route = find_route(decoded, len)) == NULL)
		rule = find_rule(method, decoded, len);

	operation->needs_key = route != NULL && route->needs_key;
	if (route != NULL)
	{
		operation->name = route->name;
		operation->scope = route->scope;
		operation->cost = route->cost;
	}
	else if (rule != NULL)
	{
		operation->name = rule->path;
		operation->scope = rule->scope;
		operation->cost = rule->cost;
	}
	else
	{
		operation->name = "other";
		operation->scope = len == 1 && decoded[0] == '/' ? NULL : "";	/* the root only describes the API */
		operation->cost = 1;
	}
}
