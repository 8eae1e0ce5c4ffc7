/*
 * What is done on an SFTP server besides streaming to it: commands. Files are
 * read, listed and written by streams (stream.h).
 *
 * Paths: "/a/b" from the root, "a/b" from the directory where the user begins.
 * They are sent as they are, in UTF-8; one with a control character is refused.
 */
#ifndef MV_SFTP_H
#define MV_SFTP_H

#include "core/transfer.h"

typedef enum MvSftpVerb
{
	MV_SFTP_DELETE,				/* a file */
	MV_SFTP_RENAME,				/* to a name that isn't taken: servers of protocol 3 refuse one that is */
	MV_SFTP_MKDIR,
	MV_SFTP_RMDIR
} MvSftpVerb;

/*
 * Adds a command to a list. With may_fail its failure doesn't end the commands
 * behind it. The list (freed by curl_slist_free_all) is returned, NULL with the
 * old one freed and *why (static) when a path isn't taken.
 */
extern struct curl_slist *mv_sftp_command(struct curl_slist *list, MvSftpVerb verb, bool may_fail,
										  const char *path, const char *to, const char **why);

/*
 * Makes a zeroed transfer (its target and owner set) one that runs these
 * commands, which must stay valid until it is done. It is started, fetched and
 * released like any other; code is CURLE_OK when all were obeyed.
 */
extern void mv_sftp_commands(MvTransfer *transfer, struct curl_slist *list);

/* What a server said no to, as far as it tells */
typedef enum MvSftpRefusal
{
	MV_SFTP_NOT_REFUSED,		/* it obeyed, or broke off, or what it said means nothing */
	MV_SFTP_LOGIN,
	MV_SFTP_HOST_KEY,			/* we refused: it has another one than those pinned */
	MV_SFTP_DENIED,
	MV_SFTP_MISSING,			/* there is no such file or directory */
	MV_SFTP_TAKEN,				/* the name is; servers of protocol 3 don't tell it from other reasons */
	MV_SFTP_FULL
} MvSftpRefusal;

/* Why an exchange with an SFTP server failed */
extern MvSftpRefusal mv_sftp_refusal(const MvTransfer *transfer);

/* NULL when a path can be used, else why not. */
extern const char *mv_sftp_path_problem(const char *path);

#endif							/* MV_SFTP_H */
