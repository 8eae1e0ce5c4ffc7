/*
 * How releases are carried to a kind of partner: the interface of a connector.
 *
 * A connector is a list of steps. Each makes at most one remote call, or one
 * streamed upload; what it learned is committed in distribution_work.state
 * before the next one begins. The worker drives it:
 *
 *   plan    in the transaction that records the attempt: which step is next?
 *   start   in the same one: the request of that step
 *   finish  in the transaction that settles: what the answer means
 *
 * The three run with SPI connected and may raise: their job alone is then put
 * off, as a fault of ours. They see nothing but the job, keep nothing between
 * calls, and never touch the network. Memory is that of the transaction.
 *
 * A crash loses an answer at most. The step is then planned again with
 * job->unsure: before it creates anything a connector has to find out whether
 * the partner has it already. Writes carry an idempotency key that is the same
 * for each repetition: <work id>:<step>:<revision>.
 *
 * Files go from where they are to the partner while they come, through one ring
 * of bytes. A source is an http(s) URL, or media:<id> for a file of ours. One
 * that is missing, empty or too long is the user's to mend, one that has changed
 * is looked at anew; no connector hears of either, nor of transfers that failed.
 *
 * A new connector is one file with one MvConnector, and its line in
 * connectors.c.
 */
#ifndef MV_CONNECTOR_H
#define MV_CONNECTOR_H

#include "postgres.h"

#include "core/json_path.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define MV_STEP_LENGTH	64		/* of a step's name, with its end */

/* Told as MV_USER's message, it has the files looked at again, and the step made again: see _settle_step() */
#define MV_FILE_HAS_CHANGED	"the file has changed since it was inspected"

typedef enum MvGoal
{
	MV_DELIVER,					/* the partner is to have the revision */
	MV_TAKEDOWN					/* it is to have nothing any more */
} MvGoal;

/* What is to be done, as it was when it was claimed. */
typedef struct MvJob
{
	pg_uuid_t	id;				/* of distribution_work: our reference */
	const char *reference;		/* the same as text */
	const char *distribution_id;
	const char *user_id;
	const char *partner;
	const char *base_url;		/* without a slash at its end; may be NULL */
	Jsonb	   *config;			/* of the partner */
	Jsonb	   *credentials;	/* opened */
	MvGoal		goal;
	int			revision;		/* that the partner is to have */
	int			delivered_revision; /* 0 = none */
	Jsonb	   *release;		/* distributions.metadata of the revision */
	Jsonb	   *state;			/* what was learned */
	List	   *platforms;		/* of char *: those of the release that are not cancelled */
	bool		all_live;		/* all of them are live: nothing has to be asked for them */
	const char *last_step;		/* NULL = none */
	bool		unsure;			/* an answer to last_step was never seen */
	TimestampTz now;
	TimestampTz publish_at;		/* 0 = as soon as possible */
} MvJob;

typedef struct MvPlan
{
	const char *step;			/* NULL = wait */
	TimestampTz until;			/* then: 0 = until something changes */
} MvPlan;

/* A part of a multipart/form-data body */
typedef struct MvPart
{
	const char *name;
	const char *value;			/* or NULL: a file */
	const char *source_url;		/* where it comes from; NULL = the request's; two files at most */
	const char *file_name;		/* of a file */
	const char *content_type;
} MvPart;

/*
 * What is asked of a partner whose base_url is sftp://host:port/path; paths of
 * requests are below that path. Directories of a put that are missing are made,
 * unless it is to be in_place: then the answer is 404.
 */
typedef enum MvSftpAsk
{
	MV_SFTP_NOTHING,			/* it is HTTP */
	MV_SFTP_PUT,				/* the source, or body, becomes the file at path */
	MV_SFTP_GET,				/* the file at path becomes the answer's body */
	MV_SFTP_LIST,				/* so do the names in the directory at path, one a line */
	MV_SFTP_COMMANDS,			/* what commands has */
	MV_SFTP_DETAILS,			/* a list with what the server tells of each; it may be longer than an answer */
	MV_SFTP_FETCH				/* the file at path goes into the exchange's temporary file */
} MvSftpAsk;

typedef struct MvSftpLine
{
	int			verb;			/* MvSftpVerb of core/sftp.h */
	bool		may_fail;
	const char *path;
	const char *to;				/* of a rename */
} MvSftpLine;

typedef struct MvRequest
{
	const char *method;			/* NULL = POST */
	const char *path;			/* behind base_url */
	const char *url;			/* instead of path: a whole one, as partners give for uploads */
	List	   *headers;		/* of char *, "Name: value" */
	const char *body;			/* text, or NULL */
	const char *content_type;	/* of the body; NULL = JSON, or what is known of the source */
	bool		idempotent;		/* send the idempotency key */
	bool		nothing;		/* nothing is asked of anybody: finish() follows, with status 200 */

	/*
	 * A stream: the bytes at source_url become the body, or the part without a
	 * value among parts. They are not kept anywhere. Where their digest is
	 * known, a source that has others ends it before its last byte is out.
	 */
	const char *source_url;
	const char *source_sha256;	/* hexadecimal, or NULL */
	List	   *parts;			/* of MvPart *, or NIL */

	/* of SFTP */
	MvSftpAsk	sftp;
	const char *temporary;		/* of a put: the file's name until it is whole. What is there of it is continued,
								 * so no other file may ever have had it: let it have the digest in it */
	bool		in_place;		/* of a put into a directory that has something already */
	List	   *commands;		/* of MvSftpLine * */

	int			timeout_ms;		/* the partner's config decides unless start() changes it; SFTP servers have always
								 * that of the config. Streams have no limit but that they move, and so long for
								 * the answer behind their last byte */
} MvRequest;

typedef struct MvResponse
{
	int			status;			/* of HTTP. SFTP: 200; 403 refused us or has another host key; 404 no such file;
								 * 409 it is there already; 413 it is too long; 507 no room */
	const char *headers;		/* "Name: value\n" lines */
	const char *body;			/* in the database's encoding; NULL = none. SFTP: what was read, or why it said no */
	Jsonb	   *json;			/* the body, when it is JSON */
	int			retry_after;	/* seconds, -1 = not said */
	int64		bytes;			/* of the stream's source, and its digests in hexadecimal; NULL = nothing was streamed */
	const char *sha256;
	const char *md5;
} MvResponse;

typedef enum MvOutcomeKind
{
	MV_NEXT,					/* the step is done, plan the next one */
	MV_WAIT,					/* it is, and there is time until `until` */
	MV_DONE,					/* nothing is left to be done */
	MV_AGAIN,					/* transient: the step again, with backoff */
	MV_USER,					/* the release was refused: the user has to change it */
	MV_ACCOUNT,					/* the account's token was refused: the step again with a fresh one */
	MV_OURS						/* the partner refuses us: it is paused */
} MvOutcomeKind;

/* What became of the release on a platform */
typedef struct MvReport
{
	const char *platform;		/* NULL = on all that the job is for */
	const char *status;			/* of distribution_targets */
	const char *external_id;
	const char *external_url;
	const char *reason;
} MvReport;

typedef struct MvOutcome
{
	MvOutcomeKind kind;			/* MV_NEXT, unless finish() says otherwise */
	Jsonb	   *learned;		/* merged into the state; members that are null go. given_upc and t<n>_given_isrc are codes that
								 * the partner gave a release that lacks them, which is kept; while there is wants_codes the work
								 * is planned once more when all is live */
	bool		delivered;		/* the partner has the revision */
	int			delivered_revision; /* which, when a step whose answer was lost has brought it an older one; 0 = the job's */
	TimestampTz until;			/* of MV_WAIT; of MV_AGAIN: not before */
	List	   *reports;		/* of MvReport * */
	const char *message;		/* why it failed */
} MvOutcome;

typedef struct MvConnector
{
	const char *name;			/* as in partners.connector */

	/*
	 * Users log in there themselves: requests to paths get the user's token, and
	 * work without one waits for it. See accounts.h. NULL = they don't.
	 */
	const char *account_path;	/* what tells whose a token is, behind base_url */
	const char *token_scheme;	/* of the Authorization header */
	bool		heeds_others;	/* its plans depend on the steps that other jobs have begun at the partner */
	void		(*plan) (const MvJob *job, MvPlan *plan);
	void		(*start) (const MvJob *job, const char *step, MvRequest *request);
	void		(*finish) (const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome);
} MvConnector;

/* connectors.c */
extern const MvConnector *mv_connector_find(const char *name);

/* For modules that are preloaded behind this one: a connector of theirs */
extern PGDLLEXPORT void mv_connector_add(const MvConnector *connector);

/* Of a stranger's text; NULL when it is none */
extern Jsonb *mv_jsonb_of(const char *text);

/* JSON by an SQL expression over $1..$n of type jsonb; the plan is kept in *plan. */
extern Jsonb *mv_json_sql(SPIPlanPtr *plan, const char *expression, int nargs, Jsonb **args);

/* A text as a string of JSON, for the above; NULL for NULL. */
extern Jsonb *mv_json_of_text(const char *text);

/* Adds to what was learned; NULL forgets. */
extern void mv_learn(MvOutcome *outcome, const char *name, const char *text);
extern void mv_learn_int(MvOutcome *outcome, const char *name, int number);

/* How long to wait before the partner is asked again what became of a release, in microseconds. */
extern int64 mv_poll_interval(const MvJob *job);

/* Judges an answer that is no success, in the way most partners mean it. */
extern PGDLLEXPORT void mv_outcome_of_status(const MvResponse *response, const char *message, MvOutcome *outcome);

extern MvReport *mv_report(MvOutcome *outcome, const char *platform, const char *status);

/* connectors */
extern const MvConnector mv_bundle;
extern const MvConnector mv_itmsp;
extern const MvConnector mv_labelgrid;
extern const MvConnector mv_soundcloud;
extern const MvConnector mv_verifier;
extern const MvConnector mv_ddex_sftp;

#endif							/* MV_CONNECTOR_H */
