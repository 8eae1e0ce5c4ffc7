/*
 * The loop of a worker that asks others. See asker.h.
 */
#include "postgres.h"

#include "core/asker.h"
#include "core/asker_told.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define IDLE_WAIT_MS	30000
#define ERROR_PAUSE_MS	1000
#define LONG_SETTLE_US	USECS_PER_SEC

static MvAsker *me;
static const MvAskerKind *my;
static TimestampTz error_until = 0;
static bool one_by_one = false;

/* ---- planning ---- */

/* May it send? */
static void
look_at_installation(void)
{
	bool		copy = mv_is_copy();

	if (copy && !me->standing_still)
		ereport(LOG,
				(errmsg("musicverse %s from this database: it is a copy of the one where sending was enabled", my->halted),
				 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
	me->standing_still = copy;
	mv_told_state(copy);
}

static void
plan_turn(void)
{
	look_at_installation();
	if (!me->standing_still)
		my->plan(mv_now());
}

static bool
plan_wanted(TimestampTz now)
{
	if (my->look != NULL && my->look(now))
		me->dirty = true;
	return me->dirty || (me->in_flight < *my->concurrency && !me->standing_still && my->next_due() <= now);
}

static void
plan(TimestampTz now)
{
	if (mv_worker_transaction(&me->base, plan_turn, my->planning))
	{
		my->start_begun(now);
		return;
	}
	my->drop_begun();
	me->dirty = true;
	error_until = now + ERROR_PAUSE_MS * INT64CONST(1000);
}

/* ---- settling ---- */

static void
settling(void)
{
	my->settle(one_by_one ? 1 : -1);
}

/* Writes answers down; when that fails, tries them one by one next time. */
static void
settle(TimestampTz now)
{
	if (mv_worker_transaction(&me->base, settling, my->settling))
	{
		my->settled(now);
		if (me->ndone == 0)
			one_by_one = false;
		return;
	}
	my->settle_failed();
	if (!one_by_one)
		one_by_one = true;
	else
	{
		my->drop_first(now);
		me->dirty = true;
	}
}

/*
 * False when that isn't all: something is left, or it took so long that more
 * has been answered since. Steps may be due again by then, and are not to be
 * planned before their answers are written down.
 */
static bool
settle_all(TimestampTz now)
{
	settle(now);
	return (me->ndone == 0 || me->retry_at > now) && mv_now() - now < LONG_SETTLE_US;
}

/* ---- the loop ---- */

static void
set_up(Datum arg)
{
	mv_worker_begin(&me->base, arg, my->name);
	me->base.note_error = mv_asker_note_error;
	me->dirty = true;
	dlist_init(&me->begun);
	dlist_init(&me->done);
	mv_told_begin(me->base.database, my->place);
	mv_told_state(false);
	if (my->begin != NULL)
		my->begin();
}

/* Before it leaves: what was answered is written down. */
static void
wind_up(void)
{
	mv_loop_pump(me->loop);
	my->collect(mv_now());
	for (int i = 0; i < 3 && me->ndone > 0; i++)
		settle(mv_now());
}

static long
idle_time(TimestampTz now)
{
	TimestampTz next;

	if (error_until > now)
		return (error_until - now) / 1000 + 1;
	if (me->standing_still)
		return IDLE_WAIT_MS;
	next = me->in_flight < *my->concurrency ? my->next_due() : PG_INT64_MAX;
	if (me->ndone > 0)
		next = Min(next, me->retry_at);
	if (me->dirty || next <= now)
		return 0;
	return (long) Min((next - now) / 1000 + 1, IDLE_WAIT_MS);
}

static void
turn(TimestampTz now)
{
	mv_loop_pump(me->loop);
	my->collect(now);
	me->dirty |= mv_worker_was_woken(&me->base);
	if (error_until <= now)
	{
		bool		settled = true;

		if (me->ndone > 0 && me->retry_at <= now)
			settled = settle_all(now);
		if (settled && plan_wanted(now))
			plan(now);
		mv_loop_pump(me->loop);
	}
	mv_told_turn(me->in_flight, my->open_breakers);
}

void
mv_asker_main(Datum arg, MvAsker *asker, const MvAskerKind *kind)
{
	MemoryContext turn_context;

	me = asker;
	my = kind;
	set_up(arg);
	turn_context = AllocSetContextCreate(TopMemoryContext, "musicverse turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	me->loop = mv_loop_create(*my->concurrency * 2);

	for (;;)
	{
		if (ProcDiePending)
			wind_up();
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			mv_loop_flush_connections(me->loop);
			me->dirty = true;
		}
		if (mv_worker_should_leave(me->base.database, me->base.place))
		{
			wind_up();
			proc_exit(0);
		}
		turn(mv_now());
		MemoryContextReset(turn_context);
		if (mv_loop_wait(me->loop, idle_time(mv_now()), PG_WAIT_EXTENSION) & WL_LATCH_SET)
			me->dirty = true;
	}
}
