/*
 * What the files of the distribution worker share.
 *
 *   releases.c          settings, the wake-up
 *   release_worker.c    what the worker does in a turn; its loop is core/asker.c
 *   release_partners.c  the partners in memory, and each one's breaker
 *   release_exchange.c  steps: claimed, recorded, sent
 *   release_settle.c    and settled
 *   accounts.c          what is asked of partners for accounts of users
 *   connectors.c        the list of connectors, and what they need of JSON
 *
 * Work is not kept in memory: what is due is claimed from the table in
 * batches, as much as each partner's concurrency has room for. Only two things
 * are known here and nowhere else: which requests are under way, and how each
 * partner fares.
 *
 * All of it is private to one process; no locks. What touches the database
 * runs within mv_worker_transaction().
 */
#ifndef MV_RELEASES_INT_H
#define MV_RELEASES_INT_H

#include "postgres.h"

#include "core/asker.h"
#include "core/breaker.h"
#include "datatype/timestamp.h"
#include "distribution/connector.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "utils/uuid.h"

typedef struct MvPartner
{
	char		name[NAMEDATALEN];
	const MvConnector *connector;	/* NULL = this server knows none of that name */
	bool		usable;			/* ours, active and not paused */
	int			concurrency;
	int			timeout_ms;
	int64		version;		/* of the row when it was read */
	char	   *base_url;		/* or NULL */
	Jsonb	   *config;
	Jsonb	   *credentials;	/* opened; or NULL */
	int			in_flight;
	TimestampTz next_due;		/* of its work; PG_INT64_MAX = none */
	MvBreaker	breaker;
	bool		seen;
	dlist_node	node;
} MvPartner;

typedef enum MvDistStage
{
	MV_STAGE_FETCH,				/* the source of a stream */
	MV_STAGE_SEND				/* the request itself */
} MvDistStage;

struct MvDistExchange;

/* What an exchange is for. Both run in the transaction that settles; an error of theirs is undone. */
typedef struct MvErrand
{
	void		(*judge) (struct MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome);
	void		(*write_down) (struct MvDistExchange *exchange, const MvOutcome *outcome);
} MvErrand;

typedef struct MvDistExchange
{
	MvTransfer	transfer;
	MvTarget   *target;
	MemoryContext context;		/* of everything here, and of the job as it was begun */
	const MvErrand *errand;
	MvJob		job;			/* of an account: only what is the partner's and the user's */
	int64		generation;		/* of the account's tokens */
	MvPartner  *partner;
	char		step[MV_STEP_LENGTH];
	MvRequest	request;
	char	   *url;
	MvDistStage stage;
	char	   *fetched;		/* malloc'd bytes of a stream's source */
	size_t		fetched_len;
	bool		source_failed;	/* the transfer is that of the source, and failed */
	long		timeout_ms;
	bool		settled;		/* in the transaction that is under way */
	bool		busy;			/* somebody held the release, or the account */
	dlist_node	node;
} MvDistExchange;

extern MvAsker mv_dist;
extern const MvAskerKind mv_dist_kind;

/* settings */
extern int	mv_dist_concurrency;
extern int	mv_dist_max_response_kb;
extern int	mv_dist_poll_interval_s;

/* release_partners.c */
extern void mv_dist_partners_read(void);
extern MvPartner *mv_dist_partner_next(MvPartner *before);
extern void mv_dist_partners_rotate(void);
extern int	mv_dist_partner_room(const MvPartner *partner, TimestampTz now);
extern void mv_dist_breaker_note(MvPartner *partner, bool success, TimestampTz now);
extern int	mv_dist_open_breakers(char names[][NAMEDATALEN], int max);
extern TimestampTz mv_dist_next_due(void);

/* release_exchange.c */
extern bool mv_dist_claim(MvPartner *partner, int slots, TimestampTz now);
extern MvDistExchange *mv_dist_exchange(MvPartner *partner, const MvErrand *errand, TimestampTz now);
extern void mv_dist_begun(MvDistExchange *exchange);
extern void mv_dist_start_begun(TimestampTz now);
extern void mv_dist_drop_begun(void);
extern void mv_dist_collect(TimestampTz now);
extern void mv_dist_free_exchange(MvDistExchange *exchange);
extern char *mv_dist_guarded(void (*function) (MvDistExchange *exchange, void *arg), MvDistExchange *exchange, void *arg);

/* release_settle.c */
extern const MvErrand mv_dist_release_errand;
extern const char *mv_dist_verdict(MvOutcomeKind kind);
extern int	mv_dist_retry_after(const MvDistExchange *exchange, const MvOutcome *outcome);
extern void mv_dist_settle(int limit);
extern void mv_dist_settled(TimestampTz now);
extern void mv_dist_settle_failed(void);
extern void mv_dist_drop_first(TimestampTz now);

#endif							/* MV_RELEASES_INT_H */
