/*
 * The gateway's worker: settings, the loop, leaving.
 *
 * It waits for its latch, for new connections and for libmicrohttpd's epoll
 * descriptor in one WaitEventSet. Requests are answered one after another, so
 * several workers run beside each other, each with sockets of its own on the
 * same addresses. No transaction is open while it waits.
 *
 * Leaving: told to stop (SIGTERM, DROP DATABASE, DROP EXTENSION, a setting),
 * it takes the connections that wait in its queues, closes its sockets, answers what has
 * begun and ends, after GRACE_MS at the latest. A second SIGTERM ends it at
 * once; so that one comes when a query takes too long, the first one sets a
 * timer that sends it.
 *
 * Locks: the extension's for each transaction; LWLocks of shared.h and of
 * gateway_shared.c.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/gateway_int.h"
#include "core/compat.h"
#include "core/launcher.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define GRACE_MS		3000
#define IDLE_WAIT_MS	30000
#define LISTEN_RETRY_MS 5000
#define ACCEPT_BATCH	64
#define REQUEST_MEMORY	(32 * 1024)	/* kept from one to the next; most need no more */

PGDLLEXPORT void mv_gateway_worker_main(Datum arg);

Gateway		gateway;

int			gateway_workers = 0;
char	   *gateway_listen = NULL;
char	   *gateway_database = NULL;
int			gateway_statement_timeout = 10000;
int			gateway_request_timeout = 30000;
int			gateway_keepalive_timeout = 60000;
int			gateway_max_connections = 1000;
int			gateway_connections_per_address = 100;
char	   *gateway_document_root = NULL;
bool		gateway_require_https = false;
int			gateway_access_log = ACCESS_LOG_OFF;
MvNetworks *gateway_metrics_allowed = NULL;

static char *metrics_allowed;

static volatile sig_atomic_t stop_wanted = false;
static timer_t grace_timer;
static WaitEventSet *wait_set = NULL;

static const struct config_enum_entry access_log_options[] = {
	{"off", ACCESS_LOG_OFF, false},
	{"errors", ACCESS_LOG_ERRORS, false},
	{"on", ACCESS_LOG_ON, false},
	{NULL, 0, false}
};

/* Asked under the entry's lock */
static int
workers_wanted(const MvDatabase *database)
{
	bool		mine = gateway_database[0] == '\0' ? database->first : strcmp(gateway_database, database->name) == 0;

	return mine ? gateway_workers : 0;
}

static bool
check_metrics_allowed(char **newval, void **extra, GucSource source)
{
	return mv_check_networks("musicverse.metrics_allowed", *newval, extra);
}

static void
assign_metrics_allowed(const char *newval, void *extra)
{
	gateway_metrics_allowed = extra;
}

/* Where `make install` puts the documentation page */
static const char *
installed_pages(void)
{
	static char path[MAXPGPATH];

	get_share_path(my_exec_path, path);
	strlcat(path, "/musicverse/web", sizeof(path));
	return path;
}

static void
define_settings(void)
{
	DefineCustomIntVariable("musicverse.gateway_workers", "Workers that serve the API over HTTP.",
							"0 = the gateway is off.", &gateway_workers, 0, 0, MV_MAX_GATEWAYS, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.gateway_listen", "Addresses and ports that the gateway listens on.",
							   "Such as 127.0.0.1:8790 or [::1]:8790, separated by commas. Port 0 takes one that is free.",
							   &gateway_listen, "127.0.0.1:8790", PGC_SIGHUP, GUC_LIST_INPUT, gateway_check_listen, NULL, NULL);
	DefineCustomStringVariable("musicverse.gateway_database", "Database that the gateway serves.",
							   "One of musicverse.databases; empty for the first of them.",
							   &gateway_database, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.gateway_statement_timeout", "How long the gateway lets a request run in the database.",
							"0 = without limit.", &gateway_statement_timeout, 10000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.gateway_request_timeout", "Time within which a request must have arrived as a whole.",
							NULL, &gateway_request_timeout, 30000, 1000, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.gateway_keepalive_timeout", "How long an idle connection is kept open.",
							NULL, &gateway_keepalive_timeout, 60000, 1000, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.gateway_max_connections", "Connections that a gateway worker has at most.",
							NULL, &gateway_max_connections, 1000, 1, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.gateway_connections_per_address",
							"Connections that a gateway worker has with one address at most, trusted proxies aside.",
							"0 = without limit.", &gateway_connections_per_address, 100, 0, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.gateway_document_root", "Folder whose files the gateway serves beside the API.",
							   "An absolute path; empty for none. By default the documentation of the API that was installed.",
							   &gateway_document_root, installed_pages(), PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   gateway_check_document_root, NULL, NULL);
	DefineCustomBoolVariable("musicverse.require_https", "Refuses requests that did not come by https to a trusted proxy.",
							 NULL, &gateway_require_https, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("musicverse.gateway_access_log", "Which requests the gateway logs: off, errors or on.",
							 NULL, &gateway_access_log, ACCESS_LOG_OFF, access_log_options, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.metrics_allowed", "Networks of the clients that /metrics answers.",
							   "A comma-separated list of CIDRs.", &metrics_allowed, "127.0.0.0/8, ::1/128", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_metrics_allowed, assign_metrics_allowed, NULL);
}

void
mv_gateway_init(void)
{
	static const MvWorkerKind kind = {"gateway worker", "mv_gateway_worker_main", MV_PLACE_GATEWAY, MV_MAX_GATEWAYS, workers_wanted};

	define_settings();
	gateway_shared_init();
	mv_launcher_add(&kind);
}

/* The first asks to stop, the second doesn't. */
static void
stop_signal(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (stop_wanted)
		die(postgres_signal_arg);
	else
	{
		static const struct itimerspec grace = {.it_value = {.tv_sec = GRACE_MS / 1000 + 1}};

		stop_wanted = true;
		timer_settime(grace_timer, 0, &grace, NULL);
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

static void
handle_stop_signal(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};

	if (timer_create(CLOCK_MONOTONIC, &event, &grace_timer) != 0)
		ereport(FATAL, (errmsg("could not create a timer: %m")));
	pqsignal(SIGTERM, stop_signal);
}

/* Connections, and the files they are sent, are descriptors beside those that the server counts on. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;
	rlim_t		needed = 2 * (rlim_t) gateway_max_connections + max_files_per_process + 100;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
		return;
	limit.rlim_cur = Min(needed, limit.rlim_max);
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void
panic(void *cls, const char *file, unsigned int line, const char *reason)
{
	ereport(FATAL, (errmsg("libmicrohttpd failed: %s", reason != NULL ? reason : "no reason given")));
}

/* Targets are wanted as they were sent. */
static size_t
leave_escaped(void *cls, struct MHD_Connection *mhd, char *text)
{
	return strlen(text);
}

static void
start_daemon(void)
{
	MHD_set_panic_func(panic, NULL);
	gateway.daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, gateway_handle, NULL,
									  MHD_OPTION_CONNECTION_LIMIT, (unsigned int) INT_MAX,
									  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) 0,
									  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) POOL_SIZE,
									  MHD_OPTION_NOTIFY_CONNECTION, gateway_connection_notify, NULL,
									  MHD_OPTION_NOTIFY_COMPLETED, gateway_completed, NULL,
									  MHD_OPTION_URI_LOG_CALLBACK, gateway_request_line, NULL,
									  MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
#if MHD_VERSION >= 0x01000000
									  MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#endif
									  MHD_OPTION_END);
	if (gateway.daemon == NULL)
		ereport(FATAL, (errmsg("could not start libmicrohttpd")));
}

static void
build_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = CreateWaitEventSet(NULL, MAX_LISTENERS + 3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE,
					  MHD_get_daemon_info(gateway.daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, NULL, NULL);
	for (int i = 0; i < gateway_nlisteners; i++)
		if (gateway_listeners[i].fd >= 0)
			AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, gateway_listeners[i].fd, NULL, &gateway_listeners[i]);
}

static void
wait_for_something(long timeout)
{
	WaitEvent	events[MAX_LISTENERS + 3];
	int			n;

	n = WaitEventSetWait(wait_set, timeout, events, lengthof(events), PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (events[i].user_data != NULL)
			((Listener *) events[i].user_data)->ready = true;
	}
}

/* How long nothing is to be done, in milliseconds */
static long
idle_time(bool listening)
{
	MHD_UNSIGNED_LONG_LONG pending;
	long		timeout = listening ? IDLE_WAIT_MS : LISTEN_RETRY_MS;

	if (MHD_get_timeout(gateway.daemon, &pending) == MHD_YES)
		timeout = Min(timeout, (long) Min(pending, IDLE_WAIT_MS));
	for (int i = 0; i < gateway_nlisteners; i++)
		if (gateway_listeners[i].ready)
			timeout = 0;
	if (gateway.nconnections > 0)
		timeout = Min(timeout, 1000);
	return timeout;
}

/* One turn of everybody's connections */
static void
serve(void)
{
	static int64 swept = 0;
	int64		now = now_us();

	for (int i = 0; i < gateway_nlisteners; i++)
		if (gateway_listeners[i].ready && gateway_listeners[i].fd >= 0)
			gateway_accept(&gateway_listeners[i], ACCEPT_BATCH);
	MHD_run(gateway.daemon);
	if (now - swept >= TICK_US)
	{
		swept = now;
		gateway_sweep();
		pgstat_report_stat(false);
	}
}

/* Takes what waits, listens no more, answers what has begun. */
static void
wind_up(void)
{
	int64		end = now_us() + GRACE_MS * INT64CONST(1000);

	gateway.stopping = true;
	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	gateway.slot->stopping = true;
	LWLockRelease(gateway_shared->lock);
	gateway_listen_close();
	build_wait_set();
	/* what has arrived is read before the idle are closed */
	MHD_run(gateway.daemon);
	MHD_run(gateway.daemon);
	gateway_close_idle();
	while (gateway.nconnections > 0 && now_us() < end)
	{
		CHECK_FOR_INTERRUPTS();
		serve();
		if (gateway.nbusy == 0)
			gateway_close_idle();
		if (gateway.nconnections > 0)
			wait_for_something(Min(idle_time(true), 100));
	}
	pgstat_report_stat(true);
}

static void
set_up(Datum arg)
{
	gateway.place = mv_worker_attach(arg, &gateway.database);
	handle_stop_signal();
	pgstat_report_appname(psprintf("musicverse gateway worker %d", gateway.place - MV_PLACE_GATEWAY));
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	gateway_shared_attach();
	raise_descriptor_limit();
	gateway.request_context = AllocSetContextCreate(TopMemoryContext, "musicverse request", REQUEST_MEMORY, REQUEST_MEMORY,
													ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContextSwitchTo(gateway.request_context);
	gateway_connections_init();
	start_daemon();
}

/* Whether all addresses could be had; the set waits for those that could. */
static bool
listen_anew(void)
{
	bool		ok = gateway_listen_open();

	build_wait_set();
	return ok;
}

void
mv_gateway_worker_main(Datum arg)
{
	uint64		changes;
	bool		listening;
	int64		tried;

	set_up(arg);
	changes = pg_atomic_read_u64(&gateway.database->changes);
	gateway_look();
	if (gateway.extension_gone)
		mv_worker_leave_without_extension(gateway.database, gateway.place, changes, gateway.extension_replaced);
	listening = listen_anew();
	tried = now_us();

	for (;;)
	{
		uint64		seen = pg_atomic_read_u64(&gateway.database->changes);
		bool		reloaded = ConfigReloadPending;

		QueryCancelPending = false; /* nothing runs that could be cancelled */
		CHECK_FOR_INTERRUPTS();
		if (reloaded)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			raise_descriptor_limit();
		}
		if (seen != changes)
		{
			gateway_look();
			if (!gateway.extension_gone)
				changes = seen;
		}
		if (gateway.extension_gone)
		{
			wind_up();
			mv_worker_leave_without_extension(gateway.database, gateway.place, changes, gateway.extension_replaced);
		}
		if (stop_wanted || mv_worker_should_leave(gateway.database, gateway.place))
		{
			wind_up();
			proc_exit(0);
		}
		if (reloaded || (!listening && now_us() - tried >= LISTEN_RETRY_MS * INT64CONST(1000)))
		{
			listening = listen_anew();
			tried = now_us();
		}

		serve();
		MemoryContextReset(gateway.request_context);
		pgstat_report_activity(STATE_IDLE, NULL);
		wait_for_something(idle_time(listening));
	}
}
