/*
 * The transfer loop: many HTTP exchanges at once in one process, driven by
 * libcurl's multi interface, waiting in one WaitEventSet together with the
 * process latch. What is too big for memory goes through stream.h, what is
 * done on SFTP servers besides through sftp.h, in the same loop.
 *
 * Promises: no transaction, snapshot or lock is needed or held; nothing in
 * here raises except mv_loop_create, and mv_loop_wait where the server's own
 * wait raises; no PostgreSQL memory is touched by libcurl or its threads
 * (malloc only); all signals are blocked while libcurl runs, so that its
 * resolver threads inherit a full mask; the address guard is asked for every
 * address really dialled; redirects are not followed, proxies of the
 * environment are ignored, only http and https are spoken (and SFTP to a
 * target that is an SFTP server), nothing is decompressed, HTTP/0.9 is refused.
 *
 * One turn of a caller's loop: start what is to be started, mv_loop_pump,
 * take what mv_loop_next_done has, mv_loop_wait, CHECK_FOR_INTERRUPTS.
 */
#ifndef MV_TRANSFER_H
#define MV_TRANSFER_H

#include "postgres.h"

#include <curl/curl.h>

#include "lib/ilist.h"

typedef struct MvLoop MvLoop;

/*
 * A prepared destination: URL, TLS material and handles kept for reuse. Freed
 * by the caller; exchanges that still run keep what they need until they end.
 */
typedef struct MvTarget MvTarget;

typedef struct MvTargetOptions
{
	const char *url;
	const char *client_cert;	/* PEM, or NULL */
	const char *client_key;		/* PEM, or NULL */
	const char *ca;				/* PEM bundle trusted instead of the system's, or NULL */
	long		connect_timeout_ms;
	long		timeout_ms;		/* covers the whole exchange, but not a stream */
	const char *user_agent;

	/* of sftp://host or sftp://host:port, which has no path */
	const char *user;
	const char *password;		/* or */
	const char *private_key;	/* PEM or OpenSSH's own form */
	const char *key_passphrase; /* or NULL */
	const char *host_keys;		/* fingerprints "SHA256:…" as ssh-keygen -l shows them, with spaces or
								 * commas between: a server with any other key is refused */
} MvTargetOptions;

typedef struct MvTiming			/* microseconds since the start; 0 = not reached */
{
	int64		dns;
	int64		connect;
	int64		tls;
	int64		first_byte;
	int64		total;
} MvTiming;

/*
 * One exchange. The fields up to owner are set by the caller before
 * mv_transfer_start, the rest is the loop's to fill (and is reset by it).
 */
typedef struct MvTransfer
{
	MvTarget   *target;
	const char *method;			/* NULL = POST */
	const char *body;			/* must stay valid until the exchange is done */
	size_t		body_len;
	struct curl_slist *headers; /* complete list: libcurl adds only Host and Content-Length and the
								 * target's User-Agent; freed by mv_transfer_release; the
								 * caller's, must stay valid until mv_transfer_release */
	size_t		max_response_body;	/* bytes kept; more than that is counted and dropped */
	void	   *owner;			/* the caller's */

	CURLcode	code;			/* CURLE_OK when a complete response came (or was cut by us) */
	long		status;			/* final HTTP status, 0 = none; may be set beside an error that came
								 * in the middle of the response */
	char		error[CURL_ERROR_SIZE]; /* empty when code is CURLE_OK; printable ASCII */
	bool		refused;		/* by the address guard, which let nothing be dialled; error says so */
	bool		truncated;		/* the response body was longer than what was kept */
	char	   *response_headers;	/* malloc'd "Name: value\n" lines of the final response in printable
									 * ASCII (other bytes are '?'), whole lines up to 16 KiB */
	size_t		response_headers_len;
	char	   *response_body;	/* malloc'd, capped, not terminated, any bytes */
	size_t		response_body_len;
	long		retry_after;	/* seconds from Retry-After (number or HTTP date), -1 = none */
	MvTiming	timing;
	char		remote_addr[64];	/* "" when nothing was dialled */
	int			remote_port;

	/* of streams and SFTP, else NULL */
	CURLcode	(*prepare) (struct MvTransfer *transfer, CURL *easy); /* sets what is to be done, in place
																		 * of method and body */
	void		(*ended) (struct MvTransfer *transfer); /* called instead of queueing it as done */
	struct curl_slist *commands;	/* for an SFTP server */

	/* private to the transfer files */
	struct MvHandle *handle;	/* set while it runs */
	dlist_node	link;
	int			where;
	size_t		received;
} MvTransfer;

/* Defines musicverse.connect_timeout, .request_timeout and .max_upload. Called from _PG_init. */
extern void mv_transfer_init(void);
extern int	mv_connect_timeout_ms;
extern int	mv_request_timeout_ms;
extern int	mv_max_upload_kb;

/*
 * Creates the loop: curl_global_init (once a process, after fork), multi
 * handle, epoll descriptor, WaitEventSet with MyLatch and postmaster death.
 * Raises on failure.
 */
extern MvLoop *mv_loop_create(int max_idle_connections);

/* Aborts what runs; the structs stay the caller's to release. */
extern void mv_loop_destroy(MvLoop *loop);

/*
 * Closes all idle connections, and those in use as soon as they fall idle:
 * after a change of the guard's networks.
 */
extern void mv_loop_flush_connections(MvLoop *loop);

/* Returns NULL and sets *why (static) when libcurl doesn't take the options. */
extern MvTarget *mv_target_create(const MvTargetOptions *options, const char **why);
extern void mv_target_free(MvTarget *target);

/*
 * Starts the exchange; its first bytes move at the next mv_loop_pump. False
 * (with code and error filled) when it could not.
 */
extern bool mv_transfer_start(MvLoop *loop, MvTransfer *transfer);

/*
 * Drops an exchange that runs or is done but not fetched yet; nothing is
 * reported for it any more.
 */
extern void mv_transfer_abort(MvLoop *loop, MvTransfer *transfer);

/*
 * Gives back what an exchange that is done or aborted still holds (header
 * list, response buffers); the struct itself is the caller's.
 */
extern void mv_transfer_release(MvTransfer *transfer);

/*
 * Moves bytes without waiting: polls the descriptors once, runs due timers,
 * collects exchanges that are done. Returns how many are running.
 */
extern int	mv_loop_pump(MvLoop *loop);

/* The next exchange that is done, in order of completion, or NULL. */
extern MvTransfer *mv_loop_next_done(MvLoop *loop);

/*
 * Waits until the latch is set, a descriptor is ready, a timer of libcurl is
 * due or timeout_ms passed (-1 = no limit); not at all when an exchange is
 * still to be sent off or to be fetched. Resets the latch when it was set.
 * Returns the WL_ flags seen. Exits the process when the postmaster died.
 */
extern int	mv_loop_wait(MvLoop *loop, long timeout_ms, uint32 wait_event_info);

#endif							/* MV_TRANSFER_H */
