/*
 * What the files of the generation worker share.
 *
 *   generation.c  settings, the wake-up
 *   worker.c      what the worker does in a turn; its loop is core/asker.c
 *   jobs.c        the open jobs and the providers in memory, and the breaker
 *   exchange.c    requests: begun, sent, settled
 *
 * Memory is a copy of the open rows of generation_work, read again whenever a
 * commit woke the worker. Only two things are known here and nowhere else:
 * when a job is polled next, and which requests are under way. Losing both
 * costs a request.
 *
 * All of it is private to one process; no locks. What touches the database
 * runs within mv_worker_transaction().
 */
#ifndef MV_GENERATION_INT_H
#define MV_GENERATION_INT_H

#include "postgres.h"

#include "core/asker.h"
#include "core/breaker.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "utils/uuid.h"

typedef struct MvGenProvider
{
	char		name[NAMEDATALEN];
	bool		ours;			/* exists, and belongs to this installation */
	bool		takes_jobs;		/* ours, and active */
	int			poll_ms;		/* 0 = it is not polled */
	int64		version;		/* of the row when it was read */
	int			in_flight;
	MvBreaker	breaker;
	bool		probed;			/* the end of its breaker's time was noticed */
	bool		seen;
	dlist_node	node;
} MvGenProvider;

typedef struct MvGenJob
{
	pg_uuid_t	id;				/* hash key */
	char		state;			/* 's'ubmitting, 'r'unning, 'c'ancelling */
	int64		version;		/* of the row when it was read */
	TimestampTz next_at;
	TimestampTz deadline;
	MvGenProvider *provider;	/* NULL = it was removed */
	bool		in_flight;		/* a request is under way or to be settled */
	uint64		seen;
} MvGenJob;

typedef struct MvGenExchange
{
	MvTransfer	transfer;
	MvTarget   *target;
	pg_uuid_t	job_id;
	MvGenProvider *provider;
	char		kind[8];
	char	   *method;
	char	   *url;
	char	   *body;
	long		timeout_ms;
	bool		settled;		/* in the transaction that is under way */
	bool		busy;			/* somebody held the job */
	dlist_node	node;
} MvGenExchange;

extern MvAsker mv_gen;
extern const MvAskerKind mv_gen_kind;

/* settings */
extern int	mv_gen_concurrency;
extern int	mv_gen_max_response_kb;

/* jobs.c */
extern void mv_gen_jobs_init(void);
extern void mv_gen_jobs_read(void);
extern MvGenJob *mv_gen_job_find(const pg_uuid_t *id);
extern MvGenJob *mv_gen_job_due(TimestampTz now, bool first);
extern MvGenJob *mv_gen_job_overdue(TimestampTz now, bool first);
extern Datum mv_gen_usable_providers(TimestampTz now, bool probes, int *n);
extern MvGenProvider *mv_gen_provider_find(const char *name);
extern void mv_gen_breaker_note(MvGenProvider *provider, bool success, TimestampTz now);
extern int	mv_gen_open_breakers(char names[][NAMEDATALEN], int max);
extern bool mv_gen_breakers_due(TimestampTz now);
extern TimestampTz mv_gen_next_due(void);

/* exchange.c */
extern void mv_gen_begin(MvGenJob *job, Datum usable);
extern void mv_gen_start_begun(TimestampTz now);
extern void mv_gen_drop_begun(void);
extern void mv_gen_collect(TimestampTz now);
extern void mv_gen_settle(int limit);
extern void mv_gen_settled(TimestampTz now);
extern void mv_gen_settle_failed(void);
extern void mv_gen_drop_first(TimestampTz now);

#endif							/* MV_GENERATION_INT_H */
