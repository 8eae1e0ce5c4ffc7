/*
 * Numbers that partners are asked for: how often releases were heard.
 *
 * A sync is of one release, or of all that a user has in his account at the
 * partner. It is due every musicverse.analytics_interval, and may have several
 * pages. What it wants is read in SQL (distribution_sync.sql); here is what is
 * asked, by kind of partner.
 */
#ifndef MV_SYNC_H
#define MV_SYNC_H

#include "postgres.h"

#include "distribution/connector.h"

struct MvPartner;

typedef struct MvSync
{
	const char *connector;
	bool		of_accounts;	/* one of each user, whose token goes with it; else one of each release */

	/* job->state has since and until (days), and release_id of a release; page is where to go on, NULL = at the beginning */
	void		(*start) (const MvJob *job, const char *page, MvRequest *request);

	/* The SQL function that makes numbers of an answer: (answer jsonb, config jsonb) returns jsonb, NULL when it makes no sense */
	const char *numbers;

	/* Where the next page is within the answer, as mv_json_text() has it; NULL = there is never one */
	const char *next_page;
} MvSync;

/* NULL = partners of that connector tell no numbers. */
extern const MvSync *mv_sync_find(const char *connector);

/*
 * For the worker: begins up to so many syncs at a partner, as mv_dist_claim()
 * does for work. True when there may be more.
 */
extern bool mv_sync_claim(struct MvPartner *partner, int slots, TimestampTz now);

#endif							/* MV_SYNC_H */
