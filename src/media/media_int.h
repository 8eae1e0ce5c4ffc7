/*
 * What the files of the media worker share.
 *
 *   media.c     settings, kinds, what the worker tells of itself, the wake-up
 *   worker.c    the loop: what is claimed, run, fetched, looked after
 *   piece.c     one piece of work: it is claimed, run, and what came of it written down
 *   store.c     the directory, the files of a task, results, names and paths
 *   fetch.c     files of others, and of ours, as input
 */
#ifndef MV_MEDIA_INT_H
#define MV_MEDIA_INT_H

#include "postgres.h"

#include "core/transfer.h"
#include "core/worker.h"
#include "media/media.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"

/* What settings allow of a file's name in media.file_name: 36 characters of an id, and an end */
#define MV_MEDIA_NAME	64

/* Of the names of what is under way */
#define MV_AT_WORK_LENGTH	512

/* Work that may fetch, and other one: claimed apart, so that neither waits for the other */
typedef enum MvMediaLane
{
	MV_LANE_HERE,
	MV_LANE_FETCHES
} MvMediaLane;

#define MV_MEDIA_LANES	2

typedef struct MvMediaWorker
{
	MvWorker	base;
	MvLoop	   *loop;
	bool		standing_still; /* it is a copy */
	bool		leaving;		/* a run was ended, as the worker has to leave */
	TimestampTz error_until;	/* nothing is asked of the database before */
	TimestampTz next_due[MV_MEDIA_LANES];	/* of work that waits for its time, or for a lock */
	bool		has_lost;		/* what is written as running isn't, as that could not be written down */
	MemoryContext scratch;		/* reset at each turn */
} MvMediaWorker;

extern MvMediaWorker mv_media;

/* A piece of work that is under way */
typedef struct MvMediaPiece
{
	MvMediaTask task;			/* first */
	const MvMediaKind *kind;	/* NULL = unknown */
	MvMediaLane lane;
	char	   *owner;			/* whose turn it was */
	char	   *host;			/* of what it fetches first, or NULL */
	MemoryContext context;		/* where all of it is */
	dlist_node	link;			/* in mv_media_pieces: who was run last is at its end */
	TimestampTz fetching_since; /* 0 = it does not fetch */
	double		used;			/* seconds */
	MvMediaResult result;

	/* what is to be written down */
	const char *verdict;		/* done, failed, again, back; NULL = it isn't finished */
	const char *message;
	const char *file_name;
} MvMediaPiece;

/* What is open for a task */
struct MvMediaFiles
{
	int			fds[16];
	int			nfds;
	int			output;			/* -1 = none */
	char	   *output_path;
};

/* settings */
extern int	mv_media_max_size_mb;
extern int	mv_media_fetches;

/* media.c */
extern const MvMediaKind *mv_media_kind(const char *name);
extern void mv_media_note_state(bool standing_still, const char *at_work);
extern void mv_media_note_error(const char *message);

/* worker.c */
extern dlist_head mv_media_pieces;	/* all that are under way */
extern void mv_media_tell(const MvMediaPiece *running);
extern bool mv_media_in_transaction(void (*function) (void), const char *activity);
extern void mv_media_remove_expired(void);
extern void mv_media_look_after_leftovers(void);	/* in a transaction; where there are some */

/* piece.c */

/* The next piece of a lane, as begun; NULL when there is none, or *failed. */
extern MvMediaPiece *mv_media_claim(MvMediaLane lane, bool *failed);

/* Runs it for a slice of time. When it is finished, that is written down, and it is gone: then true. */
extern bool mv_media_run(MvMediaPiece *piece);

/* Puts it back as if it had not been begun. */
extern void mv_media_put_back(MvMediaPiece *piece);

/* fetch.c */

extern bool mv_media_is_fetching(const MvMediaTask *task);

/* One whose file has come, or will not; NULL for none */
extern MvMediaTask *mv_media_next_fetched(void);

/* Ends the fetch of a task that has taken too long in all: then true. */
extern bool mv_media_expire_fetch(MvMediaTask *task);

/* Ends it, and frees what it holds. */
extern void mv_media_stop_fetch(MvMediaTask *task);

/* store.c */

/* Keeps a descriptor, to be closed with the task. */
extern int	mv_media_keep(MvMediaTask *task, int fd);

/*
 * Gives the file of the task its name, which is returned, for good; fills in
 * what is to be known of it. NULL when the task made no file.
 */
extern char *mv_media_publish(MvMediaTask *task, MvMediaResult *result);

/* Closes all that is open; what was not published is gone. */
extern void mv_media_close(MvMediaTask *task);

/* Reads all of a file from its beginning: its length and its digests in hexadecimal. Checks for interrupts. */
extern void mv_media_digest(int fd, int64 *bytes, const char **sha256, const char **md5);

/* Removes a file by its name in the directory; that it is gone already is fine. */
extern void mv_media_remove(const char *name);

/* Removes what is in the directory and not in the sorted list of names. Returns how many. */
extern int	mv_media_sweep(char **names, int n);

/* Removes the directories of databases that are not among those whose OIDs are given. */
extern void mv_media_sweep_databases(const Oid *databases, int n);

#endif							/* MV_MEDIA_INT_H */
