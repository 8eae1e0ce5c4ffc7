/*
 * The bare gateway: a background worker that answers every request with the
 * result of one prepared select, through SPI, in a transaction of its own. It
 * looks at nothing and limits nothing, so it is what a gateway made of
 * libmicrohttpd and SPI costs without anything around. For the benchmark only.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <unistd.h>

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

void		_PG_init(void);
PGDLLEXPORT void bare_gateway_main(Datum arg);

static int	port = 0;
static SPIPlanPtr plan = NULL;

static enum MHD_Result
handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	   const char *version, const char *data, size_t *size, void **context)
{
	static int	mark;
	struct MHD_Response *response;
	enum MHD_Result ok;
	char		body[200];

	if (*context == NULL)
	{
		*context = &mark;
		return MHD_YES;
	}
	*size = 0;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (plan == NULL)
	{
		plan = SPI_prepare("select '{\"n\":1}'::text", 0, NULL);
		SPI_keepplan(plan);
	}
	if (SPI_execute_plan(plan, NULL, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(FATAL, "the select failed");
	strlcpy(body, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), sizeof(body));
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();

	response = MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_COPY);
	MHD_add_response_header(response, "Content-Type", "application/json");
	ok = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return ok;
}

void
bare_gateway_main(Datum arg)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static const int on = 1;
	struct MHD_Daemon *daemon;
	WaitEventSet *set;
	int			fd;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection("postgres", NULL, 0);

	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 1024) != 0)
		elog(FATAL, "could not listen: %m");
	daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, handle, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_END);
#if PG_VERSION_NUM < 170000
	set = CreateWaitEventSet(TopMemoryContext, 3);
#else
	set = CreateWaitEventSet(NULL, 3);
#endif
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, NULL, NULL);
	for (;;)
	{
		MHD_UNSIGNED_LONG_LONG timeout = 1000;
		WaitEvent	event;

		CHECK_FOR_INTERRUPTS();
		MHD_run(daemon);
		if (MHD_get_timeout(daemon, &timeout) != MHD_YES)
			timeout = 1000;
		if (WaitEventSetWait(set, timeout, &event, 1, PG_WAIT_EXTENSION) == 1 && event.events == WL_LATCH_SET)
			ResetLatch(MyLatch);
	}
}

void
_PG_init(void)
{
	BackgroundWorker worker = {0};
	static int	workers = 1;

	DefineCustomIntVariable("bare_gateway.port", "Port on 127.0.0.1.", NULL, &port, 8791, 1, 65535, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bare_gateway.workers", "How many.", NULL, &workers, 1, 1, 16, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "bare_gateway", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "bare_gateway_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "bare gateway", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "bare gateway", BGW_MAXLEN);
	for (int i = 0; i < workers; i++)
		RegisterBackgroundWorker(&worker);
}
