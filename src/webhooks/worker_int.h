/*
 * What the files of the delivery worker share.
 *
 *   worker.c    the loop: wait, move bytes, transactions, leaving
 *   delivery.c  deliveries in memory
 *   intake.c    from committed ranges and backlogs to deliveries in memory
 *   endpoint.c  the webhooks in memory
 *   endpoint_config.c  from a webhook's row to what is needed to send
 *   order.c     ordering keys
 *   dispatch.c  which delivery goes next, and its request
 *   outcome.c   what an answer means: delivered, retry when, give up, disable
 *   settle.c    outcomes into the tables
 *   attempt.c   the row of an attempt
 *   maintain.c  marks for a restart, leaves of the tables, retention
 *
 * Memory: a delivery is in memory only while it is near to being sent or
 * waits for its next attempt; how many is bounded. What isn't in memory is
 * remembered, per endpoint, as "from this number on, look into the table".
 *
 * All of it is private to one process; no locks. Everything that touches the
 * database runs within worker_transaction().
 */
#ifndef MV_WORKER_INT_H
#define MV_WORKER_INT_H

#include "postgres.h"

#include "core/bulk.h"
#include "core/shared.h"
#include "core/transfer.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "storage/itemptr.h"
#include "utils/guc.h"
#include "utils/uuid.h"
#include "webhooks/sign.h"

#define MAX_LOADED			8192	/* deliveries in memory that are ready */
#define MAX_LOADED_BYTES	(16 * 1024 * 1024)	/* of their bodies */
#define MAX_READY			2000	/* of one endpoint */
#define MAX_WAITING			20000	/* deliveries in memory that wait for their time */
#define INLINE_BODY			16384	/* larger bodies are read when they are sent */
#define LOAD_ROWS			1000	/* rows with their bodies that a statement reads at most */
#define SKIM_ROWS			20000	/* rows without */
#define MIN_SHARE			32		/* deliveries of a backlog worth a statement */

typedef enum DeliveryState
{
	DELIVERY_READY,
	DELIVERY_WAITING,			/* for its time */
	DELIVERY_PARKED,			/* behind another one of its ordering key */
	DELIVERY_IN_FLIGHT,
	DELIVERY_DONE				/* an outcome is to be settled */
} DeliveryState;

typedef struct Endpoint Endpoint;

typedef struct Delivery
{
	int64		seq;
	pg_uuid_t	id;
	pg_uuid_t	event_id;
	int64		order_key;		/* 0 = none */
	TimestampTz created_at;
	TimestampTz due;			/* while waiting */
	ItemPointerData tid;		/* where the row was seen last; verified before use */
	Oid			leaf;
	int16		attempts;		/* made so far */
	DeliveryState state;
	Endpoint   *endpoint;
	char	   *body;			/* malloc'd UTF-8; NULL = not loaded */
	int			body_len;
	bool		body_missing;	/* the event isn't there any more */
	dlist_node	node;			/* in the endpoint's ready list or in a key's parked list */
	pairingheap_node timer;		/* in the heap of those that wait */
} Delivery;

/* A destination that exchanges in flight may still use after a change. */
typedef struct TargetRef
{
	MvTarget   *target;
	struct curl_slist *headers; /* those that every request has */
	int			users;			/* endpoint and exchanges */
} TargetRef;

typedef enum BreakerState
{
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN			/* one probe is under way */
} BreakerState;

typedef struct Host
{
	char		name[264];		/* hash key: host:port */
	int			in_flight;
	dlist_head	stalled;		/* endpoints that wait for it */
} Host;

/* Where an endpoint is in the order of sending */
typedef enum EndpointPlace
{
	PLACE_NOWHERE,				/* nothing ready, or enough in flight */
	PLACE_RUN,					/* in the run queue */
	PLACE_SLEEPING,				/* until wake_at: rate, breaker, Retry-After */
	PLACE_STALLED,				/* its host, or the share of the doubtful, is full */
	PLACE_BODY					/* its next bodies must be read first */
} EndpointPlace;

struct Endpoint
{
	pg_uuid_t	id;				/* hash key */

	/* configuration */
	MemoryContext context;		/* of what follows */
	bool		known;			/* loaded, and exists */
	bool		gone;			/* looked for, and not there */
	bool		sendable;		/* active, and of this installation */
	bool		disabling;		/* an outcome that disables it is to be settled */
	uint64		generation;		/* of the table when it was loaded */
	uint32		fingerprint;
	pg_uuid_t	user_id;
	char	   *url;
	char	   *headers_json;	/* the constant part of request_headers: "a":"b",… */
	MvSigner   *signer;
	MvSigner   *previous_signer;
	TimestampTz previous_until;
	int		   *schedule;		/* seconds */
	int			schedule_len;
	double		rate;			/* deliveries a second, 0 = no limit */
	int			max_concurrency;
	int			timeout_ms;
	TargetRef  *target;
	Host	   *host;
	char		config_error[MV_ERROR_TEXT];	/* why it can't be sent to; "" = it can */

	/* deliveries */
	dlist_head	ready;
	int			nready;
	int			nwaiting;
	int			in_flight;
	int			unsettled;		/* in memory in any state */
	int64		backlog_lo;		/* from here on the table holds more; 0 = nothing more */
	int64		skipped_lo;		/* lowest one passed over while reading it, as it isn't due */
	TimestampTz skipped_at;		/* when one of them is due */
	TimestampTz backlog_at;		/* all of the backlog waits: read it again then; 0 = at once */
	bool		in_backlog_list;
	dlist_node	backlog_node;
	struct keys_hash *keys;		/* ordering keys with something unsettled, or NULL */

	/* pace */
	EndpointPlace place;
	dlist_node	run_node;
	pairingheap_node sleep_node;
	TimestampTz wake_at;
	TimestampTz not_before;		/* from Retry-After */
	TimestampTz arrival;		/* theoretical arrival time of the rate limit */
	BreakerState breaker;
	int			failures;		/* in a row */
	int			window;			/* how many at once, grows with success */
	TimestampTz open_until;
	int			open_ms;

	/* what is told in webhook_state */
	int			failure_count;	/* given up in a row */
	TimestampTz failing_since;
	TimestampTz last_success;
	TimestampTz last_failure;
	char		last_error[MV_ERROR_TEXT];
	bool		state_dirty;
	int64		low_seq_written;	/* as in the table; 0 = NULL */
	int64		low_seq;		/* lowest unsettled; computed by maintain_marks() */
	TimestampTz last_used;

	char		status;			/* of the hash entry */
};

typedef enum Verdict
{
	VERDICT_DELIVERED,
	VERDICT_RETRY,
	VERDICT_GIVEN_UP,
	VERDICT_CANCELLED			/* the webhook is gone: no attempt was made */
} Verdict;

/* An exchange, and its outcome until that is settled. */
typedef struct Exchange
{
	MvTransfer	transfer;
	Delivery   *delivery;
	TargetRef  *target;
	Host	   *host;			/* where it is counted; the endpoint may move */
	TimestampTz started_at;
	int64		timestamp;		/* webhook-timestamp */
	bool		doubtful;		/* counted in the share of those that may hang */
	bool		attempted;		/* false: an outcome without an attempt */
	bool		two_signatures;
	struct curl_slist lines[3]; /* in front of the target's headers: id, timestamp, signature */
	char		id_line[64];
	char		timestamp_line[64];
	char		signature_line[2 * MV_SIGNATURE_MAX + 32];
	Verdict		verdict;
	TimestampTz next_attempt;	/* for VERDICT_RETRY */
	char		error[MV_ERROR_TEXT];	/* "" = none */
	const char *disable_reason; /* the endpoint is to be disabled */
	slist_node	node;
} Exchange;

typedef struct Worker
{
	MvDatabase *database;
	MvShard    *shard;
	int			shard_no;
	int			shards;
	MvLoop	   *loop;
	pg_uuid_t	installation_id;
	bool		standing_still;

	struct deliveries_hash *deliveries; /* by seq */
	struct endpoints_hash *endpoints;	/* by id, pointers */
	struct hosts_hash *hosts;
	dlist_head	run;
	dlist_head	bodies;			/* endpoints whose next bodies must be read */
	dlist_head	backlogged;		/* endpoints to be read from the table */
	int			nbacklogged;
	bool		backlog_wanted; /* one of them may have run short */
	pairingheap *waiting;		/* deliveries by due */
	pairingheap *sleeping;		/* endpoints by wake_at */
	dlist_head	doubtful_stalled;
	slist_head	done;			/* exchanges to be settled */
	int			ndone;
	TimestampTz done_since;
	int			nready;
	int64		body_bytes;
	int			nwaiting;
	int			in_flight;
	int			doubtful_in_flight;
	int			open_breakers;
	bool		settle_one_by_one;

	MvRange    *ranges;			/* committed, still to be read */
	int			nranges;
	int			room_ranges;
	uint64		generation;		/* of the configurations in memory */
} Worker;

extern Worker worker;

/* settings */
extern int	mv_delivery_concurrency;
extern int	mv_delivery_concurrency_per_host;
extern int	mv_endpoint_concurrency;
extern int	mv_max_response_body;
extern bool mv_allow_http;
extern int	mv_disable_after;
extern int	mv_disable_after_interval;
extern int	mv_retention_days;
extern int	mv_breaker_threshold;
extern char *mv_retry_schedule;
extern int *mv_retry_seconds;	/* parsed */
extern int	mv_retry_count;

/* worker.c */
extern void worker_note_error(const char *message);
extern int	worker_execute(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types,
						   Datum *values, const char *nulls, bool read_only, long limit);

/* delivery.c */
extern void delivery_init(void);
extern Delivery *delivery_add(Endpoint *endpoint, int64 seq);
extern bool delivery_known(int64 seq);
extern void delivery_forget(Delivery *delivery);
extern void delivery_make_ready(Delivery *delivery, bool front);
extern void delivery_make_wait(Delivery *delivery, TimestampTz due);
extern void delivery_pass_over(Endpoint *endpoint, int64 seq, TimestampTz due, TimestampTz now);
extern void delivery_wake_due(TimestampTz now);
extern void delivery_take_body(Delivery *delivery, Datum value, bool isnull);
extern void delivery_drop_body(Delivery *delivery);
extern void delivery_drop_waiting(Endpoint *endpoint);
extern void delivery_each(void (*function) (Delivery *delivery, void *arg), void *arg);

/* intake.c */
extern void intake_ran_short(Endpoint *endpoint);
extern void intake_pop_ring(void);
extern bool intake_wanted(TimestampTz now);
extern void intake_discard(void);
extern void intake_recover(void);
extern void intake_read(TimestampTz now);
extern int64 intake_lowest_range(void);

/* endpoint.c */
extern void endpoint_init(void);
extern Endpoint *endpoint_get(const pg_uuid_t *id);
extern void endpoint_load_stale(void);
extern bool endpoint_any_stale(void);
extern void endpoint_mark_stale(void);
extern void endpoint_disabled(Endpoint *endpoint);
extern void endpoint_sweep(TimestampTz now);
extern void endpoint_unload(Endpoint *endpoint);
extern void endpoint_look_from(Endpoint *endpoint, int64 seq);
extern void endpoint_each(void (*function) (Endpoint *endpoint, void *arg), void *arg);

/* endpoint_config.c */
extern const char *const endpoint_columns;
extern void endpoint_config_init(void);
extern void endpoint_load_row(HeapTuple tuple, TupleDesc desc);
extern void endpoint_drop_config(Endpoint *endpoint);
extern void target_release(TargetRef *target);

/* order.c */
extern bool order_may_start(Delivery *delivery);
extern void order_settled(Delivery *delivery);
extern void order_forget(Endpoint *endpoint);

/* dispatch.c */
extern void dispatch(TimestampTz now);
extern void endpoint_schedule(Endpoint *endpoint, TimestampTz now);
extern void endpoint_unschedule(Endpoint *endpoint);
extern void dispatch_finished(Exchange *exchange, TimestampTz now);
extern long dispatch_timeout(TimestampTz now);
extern void exchange_free(Exchange *exchange);

/* outcome.c */
extern void outcome_judge(Exchange *exchange, TimestampTz now);
extern bool outcome_check_schedule(char **newval, void **extra, GucSource source);
extern void outcome_assign_schedule(const char *newval, void *extra);
extern void breaker_note(Endpoint *endpoint, bool success, TimestampTz now);

/* attempt.c */
extern void attempt_write(MvBulk *bulk, Exchange *exchange);
extern text *attempt_clean_text(const char *bytes, size_t len);

/* settle.c */
extern void settle(int limit);
extern void settle_drop_first(void);
extern void settle_forget(int n);

/* maintain.c */
extern void maintain_survey(TimestampTz now);
extern bool maintain_wanted(TimestampTz now);
extern void maintain(TimestampTz now);

#endif							/* MV_WORKER_INT_H */
