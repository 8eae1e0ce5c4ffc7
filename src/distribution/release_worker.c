/*
 * The distribution worker: carries releases to partners, step by step, asks
 * what became of them, and takes them down. Its loop is core/asker.c.
 *
 * A turn claims what is due at each partner and records the steps begun.
 * Streams that run when the process leaves end with it: their steps stay begun,
 * and are unsure.
 *
 * Locks, besides those of asker.h: rows of releases and of their work, which
 * it never waits for.
 */
#include "postgres.h"

#include "distribution/accounts.h"
#include "distribution/releases_int.h"
#include "distribution/reports.h"
#include "distribution/sync.h"

#define CLAIMS_A_TURN	64	/* at one partner */

PGDLLEXPORT void mv_distribution_worker_main(Datum arg);

MvAsker		mv_dist;

static bool resuming = false;	/* in the transaction that is under way */
static bool resumed = false;	/* what the last worker left was made due */

static void
resume_steps(void)
{
	static SPIPlanPtr plan = NULL;

	mv_worker_execute(&plan, "select musicverse._resume_steps()", 0, NULL, NULL, NULL);
	resuming = true;
}

static void
plan(TimestampTz now)
{
	MvPartner  *partner = NULL;
	bool		more = false;

	if (!resumed)
		resume_steps();
	mv_dist_streams_keep(now);
	mv_dist_partners_read();
	mv_dist.dirty = false;
	while ((partner = mv_dist_partner_next(partner)) != NULL)
	{
		int			room = Min(mv_dist_partner_room(partner, now), Min(mv_dist_concurrency - mv_dist.in_flight, CLAIMS_A_TURN));
		bool		is_due = partner->next_due <= now;

		if (room > 0 && partner->next_due <= now)
			more |= mv_dist_claim(partner, room, now) && mv_dist_partner_room(partner, now) > 0;
		/* behind the work, which may have asked for tokens just now */
		room = Min(mv_dist_partner_room(partner, now), mv_dist_concurrency - mv_dist.in_flight);
		if (room > 0 && partner->connector->account_path != NULL)
			more |= mv_account_claim(partner, room, now) && mv_dist_partner_room(partner, now) > 0;
		room = Min(mv_dist_partner_room(partner, now), mv_dist_concurrency - mv_dist.in_flight);
		if (room > 0 && partner->connector->account_path != NULL)
			more |= mv_sign_out_claim(partner, room, now) && mv_dist_partner_room(partner, now) > 0;
		/* numbers come last: they can wait */
		room = Min(mv_dist_partner_room(partner, now), mv_dist_concurrency - mv_dist.in_flight);
		if (room > 0 && mv_sync_find(partner->connector->name) != NULL)
			more |= mv_sync_claim(partner, room, now) && mv_dist_partner_room(partner, now) > 0;
		room = Min(mv_dist_partner_room(partner, now), mv_dist_concurrency - mv_dist.in_flight);
		if (room > 0 && is_due)
			mv_report_claim(partner, now);
	}
	mv_dist_partners_rotate();
	mv_dist.dirty = more;
}

static void
start_begun(TimestampTz now)
{
	resumed |= resuming;
	mv_dist_start_begun(now);
}

static void
drop_begun(void)
{
	resuming = false;
	mv_dist_drop_begun();
}

const MvAskerKind mv_dist_kind = {
	.name = "distribution worker",
	.halted = "carries no release",
	.planning = "planning requests to partners",
	.settling = "settling answers of partners",
	.place = MV_PLACE_DISTRIBUTION,
	.concurrency = &mv_dist_concurrency,
	.plan = plan,
	.settle = mv_dist_settle,
	.start_begun = start_begun,
	.drop_begun = drop_begun,
	.settled = mv_dist_settled,
	.settle_failed = mv_dist_settle_failed,
	.drop_first = mv_dist_drop_first,
	.collect = mv_dist_collect,
	.look = mv_dist_streams_due,
	.next_due = mv_dist_next_due,
	.open_breakers = mv_dist_open_breakers
};

void
mv_distribution_worker_main(Datum arg)
{
	mv_asker_main(arg, &mv_dist, &mv_dist_kind);
}
