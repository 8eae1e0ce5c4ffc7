/*
 * Utility commands that concern the workers: DROP DATABASE, CREATE DATABASE
 * from a template, ALTER DATABASE … RENAME or SET TABLESPACE need a database
 * that nobody is connected to. The backend that runs such a command pauses the
 * workers there, waits until they have left, and lets them come back at the end
 * of its transaction, when everybody sees what became of the database.
 *
 * Also the wake-up at commit, used by the install script and by functions that
 * change what workers have read.
 *
 * Locks: those of shared.h only. A backend that dies while it pauses a
 * database gives the pause back on its way out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "core/compat.h"
#include "core/shared.h"
#include "core/utility.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(musicverse_wake);

#define PAUSE_TIMEOUT_MS 10000

static ProcessUtility_hook_type prev_process_utility = NULL;

void		(*mv_statement_end) (void) = NULL;

static MvDatabase *paused = NULL;
static bool wake_at_commit = false;
static uint64 places_at_commit = 0; /* bit by bit */
static bool tell_at_commit = false;
static bool rescan_at_commit = false;
static bool look_at_commit = false;

static void
resume_workers(int code, Datum arg)
{
	if (paused == NULL)
		return;
	LWLockAcquire(paused->lock, LW_EXCLUSIVE);
	paused->paused--;
	paused->wake = true;
	LWLockRelease(paused->lock);
	paused = NULL;
	mv_wake_launcher();
}

static bool
workers_left(MvDatabase *database)
{
	bool		left = true;

	LWLockAcquire(database->lock, LW_SHARED);
	for (int p = 0; p < MV_PLACES; p++)
		left &= database->place[p].pid == 0;
	LWLockRelease(database->lock);
	return left;
}

/* Who will be refused by the command anyway shall not disturb the workers. */
static bool
allowed(Oid database, Node *command)
{
	return IsA(command, CreatedbStmt) ? have_createdb_privilege() :
		object_ownercheck(DatabaseRelationId, database, GetUserId());
}

/* After PAUSE_TIMEOUT_MS the command runs into its own error instead. */
static void
pause_workers(const char *name, Node *command)
{
	static bool registered = false;
	Oid			oid = get_database_oid(name, true);
	MvDatabase *database = OidIsValid(oid) ? mv_database_find(oid) : NULL;
	TimestampTz start = GetCurrentTimestamp();

	if (database == NULL || !allowed(oid, command))
		return;
	if (!registered)
	{
		before_shmem_exit(resume_workers, 0);
		registered = true;
	}
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	database->paused++;
	LWLockRelease(database->lock);
	paused = database;

	while (!workers_left(database) &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), PAUSE_TIMEOUT_MS))
	{
		mv_wake_workers(database);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 5, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The database that the command needs for itself, or NULL. */
static const char *
lonely_database(Node *command)
{
	ListCell   *lc;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_RenameStmt:
			if (((RenameStmt *) command)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) command)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			foreach(lc, ((AlterDatabaseStmt *) command)->options)
				if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) command)->dbname;
			return NULL;
		case T_CreatedbStmt:
			foreach(lc, ((CreatedbStmt *) command)->options)
			{
				DefElem    *option = lfirst(lc);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					return defGetString(option);
			}
			return "template1";
		default:
			return NULL;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	const char *lonely = mv_shared != NULL && paused == NULL ? lonely_database(pstmt->utilityStmt) : NULL;
	bool		drops_extension = IsA(pstmt->utilityStmt, DropStmt) &&
		((DropStmt *) pstmt->utilityStmt)->removeType == OBJECT_EXTENSION;

	if (lonely != NULL)
	{
		look_at_commit = true;	/* a new database may be one to serve */
		pause_workers(lonely, pstmt->utilityStmt);
	}
	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params, env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, completion);

	if (drops_extension)
		wake_at_commit = true;	/* it may be this one: let the workers leave */
	if (mv_statement_end != NULL)
		mv_statement_end();
}

/* Is this database in musicverse.databases? */
static bool
database_is_listed(void)
{
	const char *databases = GetConfigOption("musicverse.databases", true, false);
	char	   *name = get_database_name(MyDatabaseId);
	List	   *list = NIL;
	ListCell   *lc;

	if (databases == NULL || !SplitIdentifierString(pstrdup(databases), ',', &list))
		return false;
	foreach(lc, list)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

/* Just before the commit, as the server keeps notices of an install script back. */
static void
tell_what_is_missing(void)
{
	if (!OidIsValid(get_extension_oid("musicverse", true)))
		return;
	if (mv_shared == NULL)
		ereport(NOTICE,
				(errmsg("musicverse records events here, but nothing is sent until the server loads it at start"),
				 errhint("Set shared_preload_libraries = 'musicverse' and restart the server.")));
	else if (!database_is_listed())
		ereport(NOTICE,
				(errmsg("no worker serves database \"%s\" yet", get_database_name(MyDatabaseId)),
				 errhint("Add it to musicverse.databases and reload the configuration.")));
}

static void
wake_places(uint64 places)
{
	MvDatabase *database = mv_database_find(MyDatabaseId);
	int			procno[MV_PLACES];

	if (database == NULL)
		return;
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	for (int p = 0; p < MV_PLACES; p++)
	{
		procno[p] = -1;
		if ((places & (UINT64CONST(1) << p)) == 0)
			continue;
		database->place[p].wakes++;
		if (database->place[p].pid != 0)
			procno[p] = database->place[p].procno;
	}
	LWLockRelease(database->lock);
	for (int p = 0; p < MV_PLACES; p++)
		if (procno[p] >= 0)
			mv_wake_process(procno[p]);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && tell_at_commit)
	{
		tell_at_commit = false;
		tell_what_is_missing();
	}
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	resume_workers(0, (Datum) 0);
	if (look_at_commit)
		mv_wake_launcher();
	tell_at_commit = look_at_commit = false;
	if (wake_at_commit && event == XACT_EVENT_COMMIT)
	{
		MvDatabase *database = mv_database_find(MyDatabaseId);

		if (database != NULL)
		{
			LWLockAcquire(database->lock, LW_EXCLUSIVE);
			database->wake = true;
			LWLockRelease(database->lock);
			/* invalidations are sent later in the commit: a worker may look before */
			pg_atomic_fetch_add_u64(&database->changes, 1);
			if (rescan_at_commit)
				pg_atomic_fetch_add_u64(&database->rescans, 1);
			mv_wake_workers(database);
		}
		mv_wake_launcher();
	}
	if (places_at_commit != 0 && !wake_at_commit && event == XACT_EVENT_COMMIT)
		wake_places(places_at_commit);
	wake_at_commit = false;
	rescan_at_commit = false;
	places_at_commit = 0;
}

void
mv_wake_at_commit(void)
{
	wake_at_commit = true;
}

void
mv_wake_place_at_commit(int place)
{
	StaticAssertStmt(MV_PLACES <= 64, "places must fit into a word of bits");
	places_at_commit |= UINT64CONST(1) << place;
}

void
mv_utility_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(xact_callback, NULL);
}

Datum
musicverse_wake(PG_FUNCTION_ARGS)
{
	rescan_at_commit = true;
	wake_at_commit = tell_at_commit = true;
	PG_RETURN_VOID();
}
