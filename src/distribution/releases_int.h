/*
 * What the files of the distribution worker share.
 *
 *   releases.c          settings, the wake-up
 *   release_worker.c    what the worker does in a turn; its loop is core/asker.c
 *   release_partners.c  the partners in memory, and each one's breaker
 *   release_exchange.c  steps: claimed, recorded, sent
 *   release_stream.c    those that carry files: their sources and sinks
 *   release_sftp.c      what is asked of SFTP servers
 *   release_end.c       what came of it, whose fault it was
 *   release_settle.c    and settled
 *   accounts.c          what is asked of partners for accounts of users
 *   sync.c              and for numbers
 *   reports.c           sales reports that lie on SFTP servers
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
#include "core/stream.h"
#include "datatype/timestamp.h"
#include "distribution/connector.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "storage/fd.h"
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
	MvTarget   *sftp;			/* its SFTP server, once it was asked for something */
	int			in_flight;
	TimestampTz next_due;		/* of its work; PG_INT64_MAX = none */
	MvBreaker	breaker;
	bool		seen;
	dlist_node	node;
} MvPartner;

/* How a step ended */
typedef enum MvDistEnd
{
	MV_END_ANSWERED,			/* the partner said something, which the connector judges */
	MV_END_PARTNER,				/* nothing came from it, or nothing whole */
	MV_END_SOURCE,				/* a file couldn't be had, or wasn't the one that was promised */
	MV_END_OURS					/* it was given up, or could not be begun */
} MvDistEnd;

/* A file that is carried */
typedef struct MvDistFile
{
	const char *url;
	bool		is_media;		/* a file of ours */
	const char *path;			/* of one, NULL = it is gone */
	const unsigned char *sha256;	/* that it must have, or NULL */
	MvTarget   *target;
	int			fd;				/* 0 = none */
} MvDistFile;

struct MvDistExchange;

/* What an exchange is for. Both run in the transaction that settles; an error of theirs is undone. */
typedef struct MvErrand
{
	void		(*judge) (struct MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome);
	void		(*write_down) (struct MvDistExchange *exchange, const MvOutcome *outcome);
	bool		alone;			/* in a transaction of its own, as it takes long */
} MvErrand;

typedef struct MvDistExchange
{
	MvTransfer	transfer;		/* a request without a stream, commands */
	MvTarget   *target;			/* of either; NULL = the partner's SFTP server */
	MvStream   *stream;			/* or NULL */
	MemoryContext context;		/* of everything here, and of the job as it was begun */
	const MvErrand *errand;
	MvJob		job;			/* of an account: only what is the partner's and the user's */
	int64		generation;		/* of the account's tokens; 0 = none are used */
	MvPartner  *partner;
	char		step[MV_STEP_LENGTH];
	bool		doubtful;		/* the answer of this step, or of one that it looks into, is missing */
	MvRequest	request;
	char	   *url;			/* of HTTP */
	MvDistFile	file[MV_STREAM_SOURCES];
	int			files;
	File		fetched;		/* the temporary file of a fetch, and a descriptor of ours for it; 0 = none */
	int			fetched_fd;
	int64		fetched_max;	/* bytes that are taken */
	bool		file_is_empty;
	bool		anew;			/* what was there to be continued didn't fit, and is overwritten */
	struct curl_slist *headers;
	struct curl_slist *commands;
	long		timeout_ms;

	/* what came of it */
	MvDistEnd	end;
	int			status;			/* that was answered; of SFTP as in MvResponse */
	const MvTransfer *answer;	/* NULL = there was none, or none of HTTP */
	const char *error;			/* of all ends but an answer, and of an SFTP server that says no */
	MvOutcomeKind verdict;		/* of all ends but an answer */
	bool		unreached;		/* the partner has certainly not seen it */
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
extern void mv_dist_begin(MvDistExchange *exchange, void (*begin) (MvDistExchange *exchange, void *arg), void *arg,
						  void (*put_off) (MvDistExchange *exchange, const char *why));
extern void mv_dist_start_begun(TimestampTz now);
extern void mv_dist_drop_begun(void);
extern void mv_dist_collect(TimestampTz now);
extern void mv_dist_free_exchange(MvDistExchange *exchange);
extern char *mv_dist_guarded(void (*function) (MvDistExchange *exchange, void *arg), MvDistExchange *exchange, void *arg);
extern MvTarget *mv_dist_target(MvDistExchange *exchange, const char *url, const char **why);
extern bool mv_dist_headers(MvDistExchange *exchange, const char *content_type);
extern char *mv_dist_utf8(const char *text);
extern void mv_dist_finished(MvDistExchange *exchange, TimestampTz now);

/* release_stream.c */
extern void mv_dist_find_files(MvDistExchange *exchange);
extern const MvStreamSource *mv_dist_main_source(const MvDistExchange *exchange);
extern bool mv_dist_is_stream(const MvDistExchange *exchange);
extern bool mv_dist_stream_start(MvDistExchange *exchange);
extern void mv_dist_stream_free(MvDistExchange *exchange);
extern void mv_dist_fetch_into(MvDistExchange *exchange, int64 max);
extern void mv_dist_fetch_free(MvDistExchange *exchange);
extern void mv_dist_streams_collect(TimestampTz now);
extern bool mv_dist_streams_due(TimestampTz now);
extern void mv_dist_streams_keep(TimestampTz now);

/* release_sftp.c */
extern void mv_dist_sftp_check(MvDistExchange *exchange);
extern MvTarget *mv_dist_sftp_target(MvPartner *partner, const char **why);
extern const char *mv_dist_sftp_path(const MvDistExchange *exchange, const char *path);
extern bool mv_dist_sftp_commands(MvDistExchange *exchange);
extern int	mv_dist_sftp_status(const MvTransfer *transfer);
extern char *mv_dist_sftp_names(const char *list, size_t len);

/* release_end.c */
extern void mv_dist_end_request(MvDistExchange *exchange);
extern void mv_dist_end_stream(MvDistExchange *exchange);
extern void mv_dist_end_ours(MvDistExchange *exchange, const char *error);
extern void mv_dist_end_gone(MvDistExchange *exchange, const MvDistFile *file);

/* release_settle.c */
extern const MvErrand mv_dist_release_errand;
extern const char *mv_dist_verdict(MvOutcomeKind kind);
extern int	mv_dist_retry_after(const MvDistExchange *exchange, const MvOutcome *outcome);
extern void mv_dist_settle(int limit);
extern void mv_dist_settled(TimestampTz now);
extern void mv_dist_settle_failed(void);
extern void mv_dist_drop_first(TimestampTz now);

#endif							/* MV_RELEASES_INT_H */
