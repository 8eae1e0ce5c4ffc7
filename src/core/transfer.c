/*
 * The transfer loop: drives libcurl's multi interface by the readiness of its
 * sockets, and waits for them beside the process latch.
 *
 * libcurl's sockets are in one epoll descriptor (transfer_socket.c), which is
 * one event of a WaitEventSet; its one timer is a deadline that bounds the
 * wait.
 *
 * Nothing here takes a lock, and the callbacks never raise, since an error
 * would jump over libcurl's frames: what they have to say is kept and logged
 * afterwards. All signals are blocked while libcurl runs: the threads that
 * resolve names inherit the mask, and no handler of the server may run in one
 * of them. A failure of libcurl itself ends all exchanges with an error and
 * starts over with a new multi handle.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

#include "core/compat.h"
#include "core/transfer_int.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"

#define EVENTS_A_TURN 256
#define STREAM_TICK_MS 500	/* how often their speed is looked at */

/* Where an exchange stands: which list of the loop it is in. */
enum
{
	NOWHERE,
	STARTING,					/* to be handed to libcurl at the next pump */
	RUNNING,
	DONE
};

struct MvLoop
{
	CURLM	   *multi;			/* NULL when libcurl failed and wouldn't come back */
	long		max_idle;
	MvSockets	sockets;
	MvStreams	streams;
	WaitEventSet *wait_set;
	int64		deadline;		/* of libcurl's timer in us, 0 = at once, -1 = none */
	int			running;		/* in starting or running */
	dlist_head	starting;
	dlist_head	in_flight;
	dlist_head	done;
	sigset_t	saved_mask;
	int			blocked;		/* how often */
};

int64
mv_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

MvStreams *
mv_loop_streams(MvLoop *loop)
{
	return &loop->streams;
}

static void
block_signals(MvLoop *loop)
{
	sigset_t	all;

	if (loop->blocked++ > 0)
		return;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &loop->saved_mask);
}

static void
restore_signals(MvLoop *loop)
{
	if (--loop->blocked == 0)
		sigprocmask(SIG_SETMASK, &loop->saved_mask, NULL);
}

static int
timer_callback(CURLM *multi, long timeout_ms, void *data)
{
	MvLoop	   *loop = data;

	loop->deadline = timeout_ms > 0 ? mv_monotonic_us() + timeout_ms * 1000 : timeout_ms;
	return 0;
}

static bool
make_multi(MvLoop *loop)
{
	loop->deadline = -1;
	loop->multi = curl_multi_init();
	if (loop->multi == NULL)
		return false;
	if (curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, mv_sockets_callback) == CURLM_OK &&
		curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, &loop->sockets) == CURLM_OK &&
		curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, timer_callback) == CURLM_OK &&
		curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop) == CURLM_OK &&
		curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, loop->max_idle) == CURLM_OK)
		return true;
	curl_multi_cleanup(loop->multi);
	loop->multi = NULL;
	return false;
}

MvLoop *
mv_loop_create(int max_idle_connections)
{
	static bool initialised = false;
	MvLoop	   *loop = calloc(1, sizeof(MvLoop));
	bool		ready;

	if (loop == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	loop->max_idle = Max(max_idle_connections, 1);
	dlist_init(&loop->starting);
	dlist_init(&loop->in_flight);
	dlist_init(&loop->done);
	dlist_init(&loop->streams.active);
	dlist_init(&loop->streams.done);

	block_signals(loop);
	if (!initialised)
		initialised = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	ready = initialised && make_multi(loop);
	restore_signals(loop);
	if (!ready)
	{
		free(loop);
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));
	}
	if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
		ereport(LOG,
				(errmsg("libcurl resolves host names synchronously"),
				 errhint("A name server that doesn't answer delays all deliveries; use a libcurl with a threaded resolver.")));

	if (!mv_sockets_init(&loop->sockets))
	{
		int			save_errno = errno;

		curl_multi_cleanup(loop->multi);
		free(loop);
		errno = save_errno;
		ereport(ERROR,
				(errmsg("could not create an epoll descriptor: %m")));
	}
	ReserveExternalFD();

	PG_TRY();
	{
		loop->wait_set = CreateWaitEventSet(NULL, 3);
		AddWaitEventToSet(loop->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		if (IsUnderPostmaster)
			AddWaitEventToSet(loop->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(loop->wait_set, WL_SOCKET_READABLE, loop->sockets.epoll, NULL, NULL);
	}
	PG_CATCH();
	{
		mv_loop_destroy(loop);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return loop;
}

static void
enlist(MvTransfer *transfer, int where, dlist_head *list)
{
	transfer->where = where;
	dlist_push_tail(list, &transfer->link);
}

/* Takes a transfer from its list, and from libcurl if it is there. Signals are blocked. */
static void
delist(MvLoop *loop, MvTransfer *transfer)
{
	if (transfer->where == NOWHERE)
		return;
	dlist_delete(&transfer->link);
	if (transfer->where == STARTING || transfer->where == RUNNING)
		loop->running--;
	if (transfer->where == RUNNING)
		curl_multi_remove_handle(loop->multi, transfer->handle->easy);
	transfer->where = NOWHERE;
	if (transfer->handle)
		mv_handle_give_back(transfer->handle);
}

static void
hand_over(MvLoop *loop, MvTransfer *transfer)
{
	if (transfer->ended)
		transfer->ended(transfer);
	else
		enlist(transfer, DONE, &loop->done);
}

/*
 * Hands over an exchange that ended. Its handle goes back first: while the
 * caller looks at the result the next exchange can use it.
 */
static void
complete(MvLoop *loop, MvTransfer *transfer, CURLcode code)
{
	mv_transfer_finish(transfer, code);
	delist(loop, transfer);
	hand_over(loop, transfer);
}

static void
complete_unsent(MvLoop *loop, MvTransfer *transfer, const char *error)
{
	mv_transfer_fail(transfer, CURLE_FAILED_INIT, error);
	delist(loop, transfer);
	hand_over(loop, transfer);
}

/* libcurl's multi handle is of no use any more: fail what runs, start over. */
static void
start_over(MvLoop *loop, CURLMcode failure)
{
	while (!dlist_is_empty(&loop->in_flight))
		complete_unsent(loop, dlist_head_element(MvTransfer, link, &loop->in_flight),
						curl_multi_strerror(failure));
	curl_multi_cleanup(loop->multi);
	make_multi(loop);
}

/* False when the multi handle had to be replaced. */
static bool
act(MvLoop *loop, curl_socket_t fd, int events)
{
	int			running;
	CURLMcode	code;

	loop->sockets.acting_since = mv_monotonic_us();
	code = curl_multi_socket_action(loop->multi, fd, events, &running);

	/* A socket that libcurl has forgotten meanwhile harms nothing. */
	if (code == CURLM_OK || code == CURLM_BAD_SOCKET)
		return true;
	start_over(loop, code);
	return false;
}

static void
start_waiting(MvLoop *loop)
{
	while (!dlist_is_empty(&loop->starting))
	{
		MvTransfer *transfer = dlist_head_element(MvTransfer, link, &loop->starting);
		CURLMcode	code = CURLM_INTERNAL_ERROR;

		if (loop->multi || make_multi(loop))
			code = curl_multi_add_handle(loop->multi, transfer->handle->easy);
		if (code != CURLM_OK)
		{
			complete_unsent(loop, transfer, curl_multi_strerror(code));
			continue;
		}
		dlist_delete(&transfer->link);
		enlist(transfer, RUNNING, &loop->in_flight);
	}
}

static void
collect_done(MvLoop *loop)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(loop->multi, &left)) != NULL)
	{
		MvHandle   *handle = NULL;
		CURLcode	code = message->data.result;

		if (message->msg == CURLMSG_DONE &&
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &handle) == CURLE_OK)
			complete(loop, handle->transfer, code);
	}
}

static bool
timer_is_due(const MvLoop *loop)
{
	return loop->deadline == 0 || (loop->deadline > 0 && loop->deadline <= mv_monotonic_us());
}

int
mv_loop_pump(MvLoop *loop)
{
	struct epoll_event events[EVENTS_A_TURN];
	int			count = epoll_wait(loop->sockets.epoll, events, lengthof(events), 0);

	if (count <= 0 && dlist_is_empty(&loop->starting) && !timer_is_due(loop) && dlist_is_empty(&loop->streams.active))
		return loop->running;

	block_signals(loop);
	start_waiting(loop);
	if (loop->multi)
	{
		bool		sound = true;

		for (int i = 0; i < count && sound; i++)
		{
			int			bits = mv_sockets_event(&loop->sockets, &events[i]);

			if (bits != 0)
				sound = act(loop, events[i].data.fd, bits);
		}
		if (sound && timer_is_due(loop))
		{
			loop->deadline = -1;
			sound = act(loop, CURL_SOCKET_TIMEOUT, 0);
		}
		if (sound)
			collect_done(loop);
	}
	if (!dlist_is_empty(&loop->streams.active))
		mv_streams_turn(loop);
	restore_signals(loop);

	mv_sockets_log_failure(&loop->sockets);
	return loop->running;
}

int
mv_loop_wait(MvLoop *loop, long timeout_ms, uint32 wait_event_info)
{
	WaitEvent	occurred[3];
	int			flags = 0;
	int			count;

	if (!dlist_is_empty(&loop->streams.active) && (timeout_ms < 0 || timeout_ms > STREAM_TICK_MS))
		timeout_ms = STREAM_TICK_MS;
	if (!dlist_is_empty(&loop->starting) || !dlist_is_empty(&loop->done) || !dlist_is_empty(&loop->streams.done))
		timeout_ms = 0;
	else if (loop->deadline >= 0)
	{
		int64		left = loop->deadline == 0 ? 0 : loop->deadline - mv_monotonic_us();
		long		left_ms = left <= 0 ? 0 : (long) ((left + 999) / 1000);

		if (timeout_ms < 0 || left_ms < timeout_ms)
			timeout_ms = left_ms;
	}

	count = WaitEventSetWait(loop->wait_set, timeout_ms, occurred, lengthof(occurred), wait_event_info);
	for (int i = 0; i < count; i++)
		flags |= occurred[i].events;
	if (count == 0)
		flags |= WL_TIMEOUT;
	if (flags & WL_LATCH_SET)
		ResetLatch(MyLatch);
	return flags;
}

bool
mv_transfer_start(MvLoop *loop, MvTransfer *transfer)
{
	mv_transfer_reset(transfer);
	transfer->where = NOWHERE;
	if (mv_handle_take(&loop->sockets, transfer) == NULL)
	{
		mv_transfer_fail(transfer, CURLE_OUT_OF_MEMORY, "out of memory");
		return false;
	}
	enlist(transfer, STARTING, &loop->starting);
	loop->running++;
	return true;
}

void
mv_transfer_abort(MvLoop *loop, MvTransfer *transfer)
{
	bool		had_result = transfer->where == DONE;

	if (transfer->where == NOWHERE)
		return;
	block_signals(loop);
	if (transfer->where == RUNNING)
		mv_sftp_cut(transfer);
	delist(loop, transfer);
	restore_signals(loop);
	if (!had_result)
		mv_transfer_fail(transfer, CURLE_ABORTED_BY_CALLBACK, "aborted");
}

MvTransfer *
mv_loop_next_done(MvLoop *loop)
{
	MvTransfer *transfer;

	if (dlist_is_empty(&loop->done))
		return NULL;
	transfer = dlist_container(MvTransfer, link, dlist_pop_head_node(&loop->done));
	transfer->where = NOWHERE;
	return transfer;
}

void
mv_loop_flush_connections(MvLoop *loop)
{
	mv_sockets_retire_all(&loop->sockets);
}

void
mv_loop_destroy(MvLoop *loop)
{
	mv_streams_drop(loop);
	while (!dlist_is_empty(&loop->starting))
		mv_transfer_abort(loop, dlist_head_element(MvTransfer, link, &loop->starting));
	while (!dlist_is_empty(&loop->in_flight))
		mv_transfer_abort(loop, dlist_head_element(MvTransfer, link, &loop->in_flight));
	while (!dlist_is_empty(&loop->done))
		mv_transfer_abort(loop, dlist_head_element(MvTransfer, link, &loop->done));

	if (loop->wait_set)
		FreeWaitEventSet(loop->wait_set);
	block_signals(loop);
	if (loop->multi)
		curl_multi_cleanup(loop->multi);
	restore_signals(loop);
	mv_sockets_close(&loop->sockets);
	ReleaseExternalFD();
	free(loop);
}
