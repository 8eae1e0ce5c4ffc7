/*
 * What the transfer files share: transfer.c (the loop and its waiting),
 * transfer_socket.c (libcurl's sockets), transfer_target.c (destinations and
 * their prepared handles), transfer_response.c (what comes back, and how
 * failures are worded), sftp.c (SFTP servers) and stream*.c (from one
 * exchange into another).
 */
#ifndef MV_TRANSFER_INT_H
#define MV_TRANSFER_INT_H

#include "core/transfer.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "musicverse needs libcurl 7.87 or newer (CURLOPT_QUICK_EXIT)"
#endif

/* All sockets of a loop */
typedef struct MvWatch MvWatch;
typedef struct MvSockets
{
	int			epoll;
	MvWatch    *watch;			/* indexed by descriptor */
	int			watch_count;
	int			failure;		/* errno of a socket that could not be watched, until it is logged */
	int64		acting_since;	/* monotonic us when libcurl was last called */
} MvSockets;

/* The streams of a loop */
typedef struct MvStreams
{
	dlist_head	active;
	dlist_head	done;
} MvStreams;

/* How a target is an SFTP server's */
typedef struct MvSftp MvSftp;

/* Why one of our callbacks cut an exchange short */
typedef enum MvCut
{
	MV_CUT_NONE,
	MV_CUT_BODY,				/* enough of the body was seen: a success */
	MV_CUT_HEADERS,				/* more header bytes than anybody needs */
	MV_CUT_MEMORY
} MvCut;

/*
 * An easy handle with all constant options set, and the state of the exchange
 * that uses it. libcurl's callbacks get a pointer to this, so that it can be
 * reused without setting them again.
 */
typedef struct MvHandle
{
	CURL	   *easy;
	MvTarget   *target;
	MvSockets  *sockets;		/* of the loop that it last ran in */
	MvTransfer *transfer;		/* NULL while idle */
	struct MvHandle *next_idle;
	bool		plain_post;		/* the method options stand at POST */
	bool		single_use;		/* its options are those of one exchange */

	/* Heads the header list: without values they suppress libcurl's own. */
	struct curl_slist suppress[3];

	/* The exchange. */
	MvCut		cut;
	bool		header_seen;	/* a byte of a response came */
	bool		header_done;	/* the final response's header is complete */
	int			line_status;	/* of the last status line, 0 = none yet */
	size_t		header_bytes;	/* all that came, interim responses included */
	size_t		header_room;	/* allocated for response_headers */
	size_t		body_room;		/* allocated for response_body */
	bool		header_full;	/* a line didn't fit: later ones are dropped too */

	/* What was dialled last, or refused. */
	int			socket;			/* that it runs over, -1 = none yet */
	bool		dialled;
	struct sockaddr_storage address;
	const char *refusal;
	char		host_key[64];	/* fingerprint that the SFTP server showed, when it isn't a pinned one */

	char		errbuf[CURL_ERROR_SIZE];
} MvHandle;

/* transfer_target.c */

/*
 * Takes an idle handle or makes one, and binds it to the transfer. NULL when
 * libcurl is out of memory. Blocks no signals.
 */
extern MvHandle *mv_handle_take(MvSockets *sockets, MvTransfer *transfer);

/* Returns the handle to its target, or frees it. It must be out of the multi. */
extern void mv_handle_give_back(MvHandle *handle);

/* True for an https: URL */
extern bool mv_target_is_tls(const MvTarget *target);

/* Its SFTP side, NULL for HTTP */
extern MvSftp *mv_target_sftp(const MvTarget *target);
extern const char *mv_target_url(const MvTarget *target);

/* sftp.c: NULL and *why (static) when something is missing or malformed */
extern MvSftp *mv_sftp_create(const MvTargetOptions *options, const char **why);
extern void mv_sftp_free(MvSftp *sftp);
extern CURLcode mv_sftp_set_options(MvHandle *handle, MvSftp *sftp);

/* Sets the URL of a path there; NULL = the server itself */
extern CURLcode mv_sftp_set_path(CURL *easy, const MvTarget *target, const char *path);

/* Ends what libcurl would wait for when it closes the connection: with signals blocked. */
extern void mv_sftp_cut(const MvTransfer *transfer);

/* transfer.c */
extern int64 mv_monotonic_us(void);
extern MvStreams *mv_loop_streams(MvLoop *loop);

/* stream.c: moves streams on, after libcurl's callbacks and with signals blocked */
extern void mv_streams_turn(MvLoop *loop);

/* Aborts all of them. */
extern void mv_streams_drop(MvLoop *loop);

/* transfer_socket.c */
extern bool mv_sockets_init(MvSockets *sockets);
extern void mv_sockets_close(MvSockets *sockets);
extern int	mv_sockets_event(MvSockets *sockets, const struct epoll_event *event);
extern void mv_sockets_mute(MvSockets *sockets, int fd, bool muted);
extern void mv_sockets_retire_all(MvSockets *sockets);
extern void mv_sockets_log_failure(MvSockets *sockets);

/* Callbacks of libcurl; data is the MvSockets, of the second the MvHandle. */
extern int	mv_sockets_callback(CURL *easy, curl_socket_t fd, int what, void *data, void *unused);
extern curl_socket_t mv_sockets_open(void *data, curlsocktype purpose, struct curl_sockaddr *addr);
extern int	mv_sockets_closed(void *data, curl_socket_t fd);

/* transfer_response.c */
extern size_t mv_response_header(char *line, size_t size, size_t count, void *handle);
extern size_t mv_response_body(char *data, size_t size, size_t count, void *handle);

/* Clears the result fields of a transfer. */
extern void mv_transfer_reset(MvTransfer *transfer);

/* Fills status, timings, addresses and error of an exchange that ended. */
extern void mv_transfer_finish(MvTransfer *transfer, CURLcode code);

/* Fills code and error of an exchange that libcurl never took on. */
extern void mv_transfer_fail(MvTransfer *transfer, CURLcode code, const char *error);

#endif							/* MV_TRANSFER_INT_H */
