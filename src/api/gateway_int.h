/*
 * What the files of the gateway share.
 *
 *   gateway.c            settings, the loop, leaving
 *   gateway_listen.c     addresses: from the setting to sockets
 *   gateway_connection.c connections: accepting, limits, deadlines
 *   gateway_wire.c       is a request's head what HTTP/1.1 wants it to be?
 *   gateway_request.c    libmicrohttpd's callbacks: a request, from head to answer
 *   gateway_run.c        the transaction around the dispatcher
 *   gateway_client.c     who asks: the address and the scheme, told by proxies or not
 *   gateway_own.c        the gateway's own paths
 *   gateway_static.c     files
 *   gateway_files.c      media files, at addresses that expire
 *   gateway_log.c        the access log
 *   gateway_shared.c     counters in shared memory
 *   gateway_metrics.c    these and others as Prometheus reads them, health
 *   gateway_sql.c        the same for SQL
 *
 * libmicrohttpd parses HTTP; its epoll descriptor and the listening sockets
 * sit in one WaitEventSet beside the latch. Its callbacks run in this process
 * and must not be jumped out of: they allocate with malloc, and whatever may
 * raise runs in a PG_TRY of gateway_run.c. The other way round libmicrohttpd
 * sees no memory of PostgreSQL's, save what it copies.
 */
#ifndef MV_GATEWAY_INT_H
#define MV_GATEWAY_INT_H

#include "postgres.h"

#include <microhttpd.h>
#include <time.h>

#include "api/dispatch.h"
#include "api/gateway.h"
#include "core/networks.h"
#include "core/proxies.h"
#include "core/shared.h"
#include "datatype/timestamp.h"
#include "keys/usage.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "utils/guc.h"

#define MAX_FIELDS			100		/* headers of a request */
#define MAX_HEAD			16384	/* bytes of its head */
#define MAX_TARGET			8192	/* bytes of its target */
#define POOL_SIZE			24576	/* what libmicrohttpd keeps for a connection, and clears after each request */
#define MAX_LISTENERS		8
#define TICK_US				INT64CONST(1000000)

/* Of the monotonic clock */
static inline int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

/* ---- an address, IPv4-mapped ones as IPv4 ---- */

typedef struct Address
{
	int			family;			/* AF_INET or AF_INET6 */
	uint8		bytes[16];
} Address;

/* ---- connections ---- */

typedef enum ConnectionState
{
	WAITING,					/* for the first line of a request */
	READING,					/* a request */
	ANSWERING
} ConnectionState;

typedef struct Connection
{
	dlist_node	node;
	struct MHD_Connection *mhd;
	int			fd;
	Address		peer;
	bool		counted;		/* among those of its address */
	ConnectionState state;
	int64		since;			/* when it came into this state */
	uint64		acked;			/* bytes that the peer had taken when it was last looked at */
	int64		acked_at;

	/* the request */
	int64		received_us;
	const char *target_at;		/* where libmicrohttpd has it, before it cuts it up */
	char	   *target;			/* as it was sent; malloc'd */
	size_t		target_len;
	size_t		target_room;
	bool		begun;			/* its head was looked at */
	bool		expects_body;
	bool		chunked;
	bool		too_large;
	char	   *body;			/* malloc'd */
	size_t		body_len;
	size_t		body_room;
	size_t		body_dropped;
} Connection;

/* ---- a request that is complete, while it is answered ---- */

typedef struct Request
{
	Connection *connection;
	const char *method;
	size_t		method_len;
	const char *path;			/* NUL-terminated target without its query */
	size_t		path_len;
	MvField		fields[MAX_FIELDS];
	int			nfields;
	bool		is_head;
	bool		is_old;			/* HTTP/1.0 */
	Address		client;
	bool		client_known;	/* false: something in front that isn't trusted says it speaks for others */
	bool		https;
	bool		close;			/* after the answer */
} Request;

/* ---- settings ---- */

extern int	gateway_workers;
extern char *gateway_listen;
extern char *gateway_database;
extern int	gateway_statement_timeout;	/* ms */
extern int	gateway_request_timeout;	/* ms */
extern int	gateway_keepalive_timeout;	/* ms */
extern int	gateway_max_connections;
extern int	gateway_connections_per_address;
extern char *gateway_document_root;
extern bool gateway_require_https;
extern int	gateway_access_log;
extern MvNetworks *gateway_metrics_allowed;

enum
{
	ACCESS_LOG_OFF,
	ACCESS_LOG_ERRORS,
	ACCESS_LOG_ON
};

/* ---- the worker ---- */

typedef struct GatewaySlot GatewaySlot;

typedef struct Gateway
{
	MvDatabase *database;
	int			place;
	GatewaySlot *slot;
	struct MHD_Daemon *daemon;
	Oid			extension;		/* the one it serves */
	bool		stopping;		/* answers say so */
	bool		extension_gone;
	bool		extension_replaced;
	int			nconnections;
	int			nbusy;			/* of them not WAITING */
	MemoryContext request_context;
} Gateway;

extern Gateway gateway;

/* ---- gateway_listen.c ---- */

typedef struct Listener
{
	Address		address;
	int			port;			/* as the setting has it: 0 = any */
	int			bound_port;
	int			fd;
	bool		ready;			/* connections wait */
} Listener;

extern Listener gateway_listeners[MAX_LISTENERS];
extern int	gateway_nlisteners;

extern bool gateway_check_listen(char **newval, void **extra, GucSource source);

/*
 * Makes the sockets that the setting names, keeps those that stay and closes
 * those that don't, after their waiting connections were taken. False when
 * some address can't be had, which was logged once: to be tried again.
 */
extern bool gateway_listen_open(void);
extern void gateway_listen_close(void);

/* "127.0.0.1:8790, [::1]:8790": what is listened to */
extern void gateway_listen_describe(char *text, size_t room);

/* ---- gateway_connection.c ---- */

extern void gateway_connections_init(void);
extern void gateway_accept(Listener *listener, int at_most);
extern void gateway_connection_notify(void *cls, struct MHD_Connection *mhd, void **context,
									  enum MHD_ConnectionNotificationCode code);
extern void gateway_connection_state(Connection *connection, ConnectionState state);

/* Ends those that are too slow; once a second. */
extern void gateway_sweep(void);

/* Ends those that wait for a request. */
extern void gateway_close_idle(void);

/* Writes an answer past libmicrohttpd, where it would just close. */
extern void gateway_answer_raw(int fd, int status);

/* ---- gateway_wire.c ---- */

/*
 * Judges the head of a request: NULL when it may be answered, else what is
 * wrong, with the status. Fills in headers, method and what the connection
 * has to know of the body.
 */
extern const char *gateway_judge_head(Request *request, const char *method, const char *version, int *status);

/* ---- gateway_request.c ---- */

extern void *gateway_request_line(void *cls, const char *uri, struct MHD_Connection *mhd);
extern enum MHD_Result gateway_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
									  const char *version, const char *data, size_t *size, void **context);
extern void gateway_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code);

/* The value of the only header of that name (in small letters), or NULL; *count gets how many there are. */
extern const MvField *gateway_field(const Request *request, const char *name, int *count);

/*
 * Queues an answer and counts it. What it queues is copied. The response may be one that
 * was made before (of a file), then body is ignored and it is destroyed.
 */
extern enum MHD_Result gateway_send(Request *request, const MvApiResponse *answer, struct MHD_Response *made);

/* The same for what the gateway itself has to say, as problem+json. */
extern enum MHD_Result gateway_problem(Request *request, int status, const char *detail);

extern const char *gateway_title(int status);

/* An id for a request that failed before the dispatcher gave it one. */
extern void gateway_make_id(char id[37]);

/*
 * Bytes above the limit of a body that are read before the connection is cut:
 * who is answered while it sends sees a broken connection, not the answer.
 */
#define PATIENCE_WITH_BODY (1024 * 1024)

/* ---- gateway_run.c ---- */

/* Has the dispatcher answer; the answer is in gateway.request_context. Never raises. */
extern void gateway_dispatch(Request *request, MvApiResponse *response);

/* Looks whether the extension is there. */
extern void gateway_look(void);

/* ---- gateway_client.c ---- */

extern void gateway_find_client(Request *request);
extern void gateway_address_text(const Address *address, char *text, size_t room);
extern void gateway_address_inet(const Address *address, inet *to);
extern bool gateway_in(const MvNetworks *networks, const Address *address);

/* ---- gateway_own.c ---- */

/* Answers the gateway's own paths and files; false when the request is for the dispatcher. */
extern bool gateway_own(Request *request, enum MHD_Result *result);

/* ---- gateway_static.c ---- */

extern bool gateway_check_document_root(char **newval, void **extra, GucSource source);
extern enum MHD_Result gateway_file(Request *request);

/* Does If-None-Match list the tag? */
extern bool gateway_is_listed(const Request *request, const char *tag);

/* ---- gateway_files.c ---- */

/* Answers for a media file; false when the request is for something else. */
extern bool gateway_media_file(Request *request, enum MHD_Result *result);

/* ---- gateway_log.c ---- */

extern void gateway_log(const Request *request, const MvApiResponse *answer, int64 duration_us);

/* ---- gateway_shared.c ---- */

#define DURATION_BUCKETS 14
extern const int64 gateway_duration_ends[DURATION_BUCKETS];	/* microseconds */

struct GatewaySlot
{
	/* under the lock */
	int			pid;
	Oid			database;
	TimestampTz started_at;
	bool		stopping;
	int			port;			/* of the first address, 0 = none yet */
	char		listen[256];

	pg_atomic_uint32 connections;
	pg_atomic_uint64 accepted;
	pg_atomic_uint64 refused;	/* connections for which there was no room */
	pg_atomic_uint64 timed_out;
	pg_atomic_uint64 requests;
	pg_atomic_uint64 errors;	/* answers of class 5 */
	pg_atomic_uint64 bytes_in;
	pg_atomic_uint64 bytes_out;
};

typedef struct GatewayOperation
{
	char		name[MV_OPERATION_LEN];
	pg_atomic_uint64 answers[6];	/* by class of status */
	pg_atomic_uint64 duration[DURATION_BUCKETS + 1];
	pg_atomic_uint64 duration_us;
} GatewayOperation;

#define MAX_OPERATIONS 256

typedef struct GatewayShared
{
	LWLock	   *lock;
	char		listen[1024];	/* the setting for which the ports were chosen */
	int			port[MAX_LISTENERS];
	GatewaySlot slot[MV_MAX_GATEWAYS];
	pg_atomic_uint32 noperations;	/* grows under the lock; names never change */
	GatewayOperation operation[MAX_OPERATIONS];
} GatewayShared;

extern GatewayShared *gateway_shared;

extern void gateway_shared_init(void);
extern void gateway_shared_attach(void);
extern void gateway_count(const char *operation, int status, int64 duration_us);

/* ---- gateway_metrics.c ---- */

/* The text exposition of Prometheus, version 0.0.4. May raise only when out of memory. */
extern void gateway_metrics(StringInfo out);

/* {"status": "ok", …} of a database; true when it is ready to be used. */
extern bool gateway_health(StringInfo out, MvDatabase *database, bool extension);

#endif							/* MV_GATEWAY_INT_H */
