/*
 * libcurl's sockets: opened if the address guard agrees, and watched by one
 * epoll descriptor, level-triggered.
 *
 * Idle keep-alive sockets stay in the set: libcurl takes a connection out of
 * watch after each exchange and asks for the same again with the next, and two
 * system calls an exchange would be a fifth of its cost.
 *
 * These are callbacks of libcurl: they never raise and use malloc only. A
 * failure to watch is kept and logged when libcurl has returned.
 */
#include "postgres.h"

#include <unistd.h>

#include "core/guard.h"
#include "core/transfer_int.h"

/* One per descriptor that libcurl ever spoke of, found by its number. */
struct MvWatch
{
	uint8		events;			/* what epoll watches, 0 = not in the set */
	bool		ours;			/* made by mv_sockets_open, so its closing is reported */
	bool		idle;			/* libcurl doesn't care at present */
	bool		stale;			/* to be shut down when it falls idle */
	bool		muted;			/* not in the set, whatever libcurl wants */
	uint8		wanted;			/* by libcurl, while muted */
};

bool
mv_sockets_init(MvSockets *sockets)
{
	memset(sockets, 0, sizeof(*sockets));
	sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
	return sockets->epoll >= 0;
}

void
mv_sockets_close(MvSockets *sockets)
{
	close(sockets->epoll);
	free(sockets->watch);
}

/* The entry of a descriptor, NULL when memory for it cannot be had. */
static MvWatch *
watch_of(MvSockets *sockets, int fd)
{
	if (fd >= sockets->watch_count)
	{
		int			count = Max(64, sockets->watch_count);
		MvWatch    *grown;

		while (count <= fd)
			count *= 2;
		grown = realloc(sockets->watch, count * sizeof(MvWatch));
		if (grown == NULL)
		{
			sockets->failure = ENOMEM;
			return NULL;
		}
		memset(grown + sockets->watch_count, 0, (count - sockets->watch_count) * sizeof(MvWatch));
		sockets->watch = grown;
		sockets->watch_count = count;
	}
	return &sockets->watch[fd];
}

/* Makes epoll watch a descriptor for these events; 0 takes it out. */
static void
set_watch(MvSockets *sockets, int fd, MvWatch *watch, uint8 events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	int			rc;

	if (watch->events == events)
		return;
	if (events == 0)
		rc = epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (watch->events == 0)
	{
		rc = epoll_ctl(sockets->epoll, EPOLL_CTL_ADD, fd, &event);
		if (rc < 0 && errno == EEXIST)
			rc = epoll_ctl(sockets->epoll, EPOLL_CTL_MOD, fd, &event);
	}
	else
	{
		rc = epoll_ctl(sockets->epoll, EPOLL_CTL_MOD, fd, &event);
		if (rc < 0 && errno == ENOENT)
			rc = epoll_ctl(sockets->epoll, EPOLL_CTL_ADD, fd, &event);
	}
	if (rc < 0)
	{
		/*
		 * A descriptor that is closed already needs no watching; in any other
		 * case the exchange will run into its time-out.
		 */
		if (events != 0 && errno != EBADF)
			sockets->failure = errno;
		events = 0;
	}
	watch->events = events;
}

static void
retire_connection(MvSockets *sockets, int fd, MvWatch *watch)
{
	/* libcurl sees the end of it before it would reuse it, and closes it. */
	set_watch(sockets, fd, watch, 0);
	shutdown(fd, SHUT_RDWR);
}

/* libcurl wants a descriptor watched, or no more. */
int
mv_sockets_callback(CURL *easy, curl_socket_t fd, int what, void *data, void *unused)
{
	MvSockets  *sockets = data;
	MvWatch    *watch = watch_of(sockets, fd);

	if (watch == NULL)
		return 0;
	if (what == CURL_POLL_REMOVE)
	{
		/*
		 * Of descriptors that libcurl made itself (a resolver thread's socket
		 * pair) this is the last we hear, and the number may come back.
		 */
		watch->idle = true;
		watch->muted = false;
		if (!watch->ours)
			set_watch(sockets, fd, watch, 0);
		else if (watch->stale)
			retire_connection(sockets, fd, watch);
		else if (watch->events & EPOLLOUT)
			set_watch(sockets, fd, watch, EPOLLIN);
	}
	else
	{
		MvHandle   *handle = NULL;

		/* a handle of libcurl's own, as newer ones have, knows none of ours */
		if (watch->ours && curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &handle) == CURLE_OK && handle)
			handle->socket = fd;
		watch->idle = false;
		watch->wanted = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
		if (!watch->muted)
			set_watch(sockets, fd, watch, watch->wanted);
	}
	return 0;
}

/* Makes the socket for a connection, if the guard lets its address pass. */
curl_socket_t
mv_sockets_open(void *data, curlsocktype purpose, struct curl_sockaddr *addr)
{
	MvHandle   *handle = data;
	const char *refusal = mv_guard_refusal(&addr->addr);
	MvWatch    *watch;
	uint8		events;
	int			fd;

	if (refusal && handle->dialled)
		return CURL_SOCKET_BAD; /* the address that was dialled is the one to report */
	memcpy(&handle->address, &addr->addr, Min(addr->addrlen, sizeof(handle->address)));
	if (refusal)
	{
		handle->refusal = refusal;
		return CURL_SOCKET_BAD;
	}

	fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	watch = watch_of(handle->sockets, fd);
	if (watch == NULL)
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}

	/*
	 * libcurl up to 7.88 closes a socket that never got connected behind our
	 * back. If the next one gets its number, it doesn't repeat what is to be
	 * watched, although the kernel has forgotten it.
	 */
	events = watch->idle ? 0 : watch->events;
	memset(watch, 0, sizeof(*watch));
	watch->ours = true;
	set_watch(handle->sockets, fd, watch, events);
	handle->dialled = true;
	return fd;
}

/* Closes a socket, whereby it leaves the epoll set too. */
int
mv_sockets_closed(void *data, curl_socket_t fd)
{
	MvSockets  *sockets = data;

	if (fd < sockets->watch_count)
		memset(&sockets->watch[fd], 0, sizeof(MvWatch));
	return close(fd);
}

/*
 * Stops listening to a socket, or listens to it again. libcurl goes on waiting
 * for an SFTP connection to be writable, which it always is, while its upload
 * is paused.
 */
void
mv_sockets_mute(MvSockets *sockets, int fd, bool muted)
{
	MvWatch    *watch = fd >= 0 ? watch_of(sockets, fd) : NULL;

	if (watch == NULL || watch->idle || watch->muted == muted)
		return;
	watch->muted = muted;
	set_watch(sockets, fd, watch, muted ? 0 : watch->wanted);
}

/*
 * What to tell libcurl of an event, as CURL_CSELECT_ bits; 0 = nothing.
 */
int
mv_sockets_event(MvSockets *sockets, const struct epoll_event *event)
{
	int			fd = event->data.fd;
	MvWatch    *watch = watch_of(sockets, fd);
	int			bits = 0;

	if (watch == NULL || watch->events == 0)
		return 0;				/* closed by an earlier event of this turn */
	if (watch->idle)
	{
		/*
		 * The receiver closes a connection that nobody uses, or sends
		 * something: libcurl looks at it when it wants to use it again.
		 */
		set_watch(sockets, fd, watch, 0);
		return 0;
	}

	/*
	 * An error is found by reading or writing: CURL_CSELECT_ERR would hide
	 * which one it was.
	 */
	if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		bits |= CURL_CSELECT_IN;
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		bits |= CURL_CSELECT_OUT;
	return bits;
}

/* Shuts down all connections, those in use when they fall idle. */
void
mv_sockets_retire_all(MvSockets *sockets)
{
	for (int fd = 0; fd < sockets->watch_count; fd++)
	{
		MvWatch    *watch = &sockets->watch[fd];

		if (!watch->ours)
			continue;
		watch->stale = true;
		if (watch->idle)
			retire_connection(sockets, fd, watch);
	}
}

/* Logs, once a process, that a socket could not be watched. */
void
mv_sockets_log_failure(MvSockets *sockets)
{
	static bool logged = false;

	if (sockets->failure == 0)
		return;
	errno = sockets->failure;
	sockets->failure = 0;
	if (!logged)
		ereport(LOG,
				(errmsg("could not watch a socket: %m"),
				 errdetail("The exchanges concerned will time out.")));
	logged = true;
}
