/*
 * What the files of the media worker share.
 *
 *   media.c     settings, kinds, what the worker tells of itself, the wake-up
 *   worker.c    the loop: one piece of work after the other
 *   store.c     the directory, the files of a task, results, names and paths
 *   fetch.c     files of others, and of ours, as input
 */
#ifndef MV_MEDIA_INT_H
#define MV_MEDIA_INT_H

#include "postgres.h"

#include "core/transfer.h"
#include "core/worker.h"
#include "media/media.h"
#include "nodes/pg_list.h"

/* What settings allow of a file's name in media.file_name: 36 characters of an id, and an end */
#define MV_MEDIA_NAME	64

typedef struct MvMediaWorker
{
	MvWorker	base;
	MvLoop	   *loop;
	bool		standing_still; /* it is a copy */
	bool		leaving;		/* a run was ended, as the worker has to leave */
} MvMediaWorker;

extern MvMediaWorker mv_media;

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

/* media.c */
extern const MvMediaKind *mv_media_kind(const char *name);
extern void mv_media_note_state(bool standing_still, const char *at_work);
extern void mv_media_note_error(const char *message);

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
