/*
 * Media: what is made of bytes rather than of rows (facts of audio, converted
 * audio, covers, packages), by a worker of its own, so that nobody who waits
 * for a network or a transaction waits for that too.
 *
 * Somebody queues a piece of work by _request_media(kind, input); its id is
 * that of its kind and its key, so the same is asked for and made once. The
 * worker calls the run() of its kind outside of any transaction, one at a time,
 * while it fetches files for several others. What comes of it is a row of media
 * under the same id: facts, and mostly a file in musicverse.media_directory,
 * which _media_path(id) finds.
 *
 * A new kind is one file with one MvMediaKind, handed to mv_media_add() by the
 * init function of its room:
 *
 *	static bool
 *	pack(MvMediaTask *task, MvMediaResult *result)
 *	{
 *		MvMediaSource cover;
 *
 *		if (!mv_media_fetch(task, mv_json_text(task->input, "cover_url"), &cover))
 *			return false;
 *		int out = mv_media_output(task);
 *		... mv_media_write(out, bytes, n); mv_media_check(); ...
 *		result->media_type = "application/zip";
 *		result->extension = "zip";
 *		return true;
 *	}
 *	static const MvMediaKind package = {"package", pack};
 *
 * run() returns true when it is finished. When it returns false it is called
 * again: once what it fetches is there, and else after others had their turn,
 * which long work gives them when mv_media_slice_over(). What it has to know
 * then it keeps in task->state.
 *
 * What run() may count on: memory is that of the task, freed after it;
 * descriptors that the functions below gave are closed then; what it raises is
 * written down. An error of class 22 (data exception) is a verdict: the piece
 * is failed, with that message. Any other one is tried again later, a few
 * times. A run that the end of the process cuts off leaves nothing, and is
 * begun again. What is not the task's memory end() frees, however it ended.
 *
 * What run() must do: call mv_media_check() at least every half second; touch
 * the database only by mv_media_transaction(); be harmless when repeated.
 */
#ifndef MV_MEDIA_H
#define MV_MEDIA_H

#include "postgres.h"

#include "core/json_path.h"

typedef struct MvMediaFiles MvMediaFiles;
typedef struct MvMediaFetch MvMediaFetch;

typedef struct MvMediaTask
{
	char	   *id;				/* of media_work, and of the row of media to be */
	char	   *kind;
	Jsonb	   *input;
	int			attempts;		/* this one included */
	void	   *state;			/* run()'s own, NULL at its first call */

	/* the worker's */
	MvMediaFiles *files;		/* what is open, and to be closed */
	MvMediaFetch *fetch;		/* what is under way, or has come */
} MvMediaTask;

/* Zeroed before run() */
typedef struct MvMediaResult
{
	const char *facts;			/* a JSON object, in the database's encoding; or NULL */
	const char *media_type;		/* of the file; of what was looked at, where there is none */
	const char *extension;		/* of the file's name, without a dot */

	/* only where no file is made: what was looked at. Those of a file are found out */
	int64		bytes;
	const char *sha256;			/* hexadecimal */
	const char *md5;
} MvMediaResult;

typedef struct MvMediaKind
{
	const char *name;			/* as in media_work.kind */
	bool		(*run) (MvMediaTask *task, MvMediaResult *result);
	void		(*end) (MvMediaTask *task); /* may be NULL; must not raise */
} MvMediaKind;

#define MV_MAX_MEDIA_KINDS 16

/* Adds a kind, which must stay where it is. To be called after mv_media_init(). */
extern void mv_media_add(const MvMediaKind *kind);

/* Settings, shared memory and the kind of worker. Called from _PG_init. */
extern void mv_media_init(void);

/* ---- for run() ---- */

/* Leaves, by an error, when the worker is to end or its database is wanted by somebody. Moves what is being fetched. */
extern void mv_media_check(void);

/* Is it time that others have their turn? */
extern bool mv_media_slice_over(void);

/* A file to work in, which has no name and goes with the task. Its descriptor. */
extern int	mv_media_scratch(MvMediaTask *task);

/* The file that is to be the result; the same one at each call. Its descriptor. */
extern int	mv_media_output(MvMediaTask *task);

/* Raises class 22 when so many bytes are more than all files may have. To be asked while a file grows by what others say. */
extern void mv_media_check_size(const char *what, int64 bytes);

/* Writes all of it, or raises. */
extern void mv_media_write(int fd, const void *bytes, size_t len);

typedef struct MvMediaSource
{
	int			fd;				/* at its beginning, to be read only */
	int64		bytes;
	const char *sha256;			/* hexadecimal */
	const char *md5;
	const char *media_type;		/* as the server says, or NULL */
} MvMediaSource;

/*
 * Brings what is at an http(s) URL into a scratch file, through the address
 * guard, up to musicverse.max_upload; or opens the file of "media:<id>". False:
 * it is on its way; run() is to return false, and to ask for the same again when
 * it is called again. One at a time. Raises class 22 when it isn't there, is
 * refused or too long.
 */
extern bool mv_media_fetch(MvMediaTask *task, const char *url, MvMediaSource *source);

/* Closes what a function above opened, before the task ends: so many may be open at once. */
extern void mv_media_drop(MvMediaTask *task, int fd);

/* Calls the function in a transaction, with SPI connected, in the caller's memory; raises when that failed. */
extern void mv_media_transaction(void (*function) (void *arg), void *arg);

/* ---- for everybody ---- */

/* Opens a file by its name and size in the table media, to be read; -1 when it is not here. Never raises but for memory. */
extern int	mv_media_open(const char *file_name, int64 bytes);

#endif							/* MV_MEDIA_H */
