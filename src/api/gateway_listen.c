/*
 * Addresses: from musicverse.gateway_listen to sockets.
 *
 * All workers listen on the same addresses, each with a socket of its own
 * (SO_REUSEPORT), so that the kernel shares connections out and a worker that
 * dies takes only its own along. As that option would also let another
 * server of the same user share a port without a word, whoever is first binds
 * without it to see whether the address is free. A port 0 is chosen by
 * the first worker, and the others take the same one from shared memory.
 *
 * Locks: the gateway's, while ports are chosen; nothing waits in there.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "api/gateway_int.h"
#include "core/compat.h"
#include "miscadmin.h"
#include "utils/guc.h"

#define BACKLOG 1024

Listener	gateway_listeners[MAX_LISTENERS];
int			gateway_nlisteners = 0;

/* One address, such as 127.0.0.1:8790 or [::1]:8790 */
static bool
parse_address(const char *from, size_t len, Listener *listener)
{
	char		text[INET6_ADDRSTRLEN + 16];
	char	   *host = text;
	char	   *colon;
	char	   *end;
	long		port;

	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, from, len);
	text[len] = '\0';
	colon = strrchr(text, ':');
	if (colon == NULL || colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || port > 65535)
		return false;
	*colon = '\0';

	memset(listener, 0, sizeof(*listener));
	listener->fd = -1;
	listener->port = port;
	listener->address.family = AF_INET;
	if (host[0] == '[')
	{
		if (colon[-1] != ']')
			return false;
		colon[-1] = '\0';
		host++;
		listener->address.family = AF_INET6;
	}
	return inet_pton(listener->address.family, host, listener->address.bytes) == 1;
}

/* Returns how many there are, or -1 with *bad at the one that is none. */
static int
parse_list(const char *text, Listener *listeners, char *bad, size_t room)
{
	int			n = 0;

	for (;;)
	{
		size_t		len;

		text += strspn(text, " \t\r\n");
		if (*text == '\0')
			return n;
		len = strcspn(text, ", \t\r\n");
		if (n == MAX_LISTENERS || !parse_address(text, len, &listeners[n]))
		{
			strlcpy(bad, text, Min(room, len + 1));
			return -1;
		}
		n++;
		text += len;
		text += strspn(text, " \t\r\n");
		if (*text == ',')
			text++;
		else if (*text != '\0')
		{
			strlcpy(bad, text, room);
			return -1;
		}
	}
}

bool
gateway_check_listen(char **newval, void **extra, GucSource source)
{
	Listener	listeners[MAX_LISTENERS];
	char		bad[100];

	if (*newval == NULL)
		return true;
	if (strlen(*newval) >= sizeof(gateway_shared->listen))
	{
		GUC_check_errdetail("It is longer than %zu characters.", sizeof(gateway_shared->listen) - 1);
		return false;
	}
	if (parse_list(*newval, listeners, bad, sizeof(bad)) >= 0)
		return true;
	GUC_check_errmsg("invalid address \"%s\" in \"musicverse.gateway_listen\"", bad);
	GUC_check_errhint("List up to %d addresses with ports, such as 127.0.0.1:8790 or [::1]:8790, separated by commas.", MAX_LISTENERS);
	return false;
}

static socklen_t
socket_address(const Listener *listener, int port, struct sockaddr_storage *storage)
{
	memset(storage, 0, sizeof(*storage));
	if (listener->address.family == AF_INET6)
	{
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) storage;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, listener->address.bytes, 16);
		return sizeof(*in6);
	}
	else
	{
		struct sockaddr_in *in = (struct sockaddr_in *) storage;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, listener->address.bytes, 4);
		return sizeof(*in);
	}
}

static int
bind_socket(const Listener *listener, int port, bool shared)
{
	static const int on = 1;
	struct sockaddr_storage storage;
	socklen_t	len = socket_address(listener, port, &storage);
	int			fd = socket(listener->address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			save_errno;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
		(!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
		(listener->address.family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
		bind(fd, (struct sockaddr *) &storage, len) == 0)
		return fd;
	save_errno = errno;
	close(fd);
	errno = save_errno;
	return -1;
}

static int
port_of(int fd)
{
	union
	{
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	}			bound = {0};
	socklen_t	len = sizeof(bound);

	if (getsockname(fd, &bound.any, &len) != 0)
		return 0;
	return ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
}

/* Under the lock: has another of our workers this very list bound already? */
static bool
others_listen(void)
{
	for (int i = 0; i < MV_MAX_GATEWAYS; i++)
		if (&gateway_shared->slot[i] != gateway.slot && gateway_shared->slot[i].pid != 0 && gateway_shared->slot[i].port != 0)
			return true;
	return false;
}

/* Under the lock. Leaves errno when it returns false. */
static bool
open_listener(Listener *listener, int i)
{
	int			port = listener->port != 0 ? listener->port : gateway_shared->port[i];

	if (!others_listen() || port == 0)
	{
		int			probe = bind_socket(listener, port, false);

		if (probe < 0 && port != 0 && listener->port == 0)
			probe = bind_socket(listener, 0, false);
		if (probe < 0)
			return false;
		port = port_of(probe);
		close(probe);
	}
	listener->fd = bind_socket(listener, port, true);
	if (listener->fd < 0)
		return false;
	if (listen(listener->fd, BACKLOG) != 0)
	{
		int			save_errno = errno;

		close(listener->fd);
		listener->fd = -1;
		errno = save_errno;
		return false;
	}
	listener->bound_port = port;
	gateway_shared->port[i] = port;
	return true;
}

static void
close_listener(Listener *listener)
{
	if (listener->fd < 0)
		return;
	/* those who wait in its queue would be cut off */
	gateway_accept(listener, INT_MAX);
	close(listener->fd);
	listener->fd = -1;
}

static void
describe(const Listener *listener, int port, char *text, size_t room)
{
	char		address[INET6_ADDRSTRLEN];

	gateway_address_text(&listener->address, address, sizeof(address));
	snprintf(text, room, listener->address.family == AF_INET6 ? "[%s]:%d" : "%s:%d", address, port);
}

void
gateway_listen_describe(char *text, size_t room)
{
	text[0] = '\0';
	for (int i = 0; i < gateway_nlisteners; i++)
	{
		size_t		len = strlen(text);
		char		one[INET6_ADDRSTRLEN + 16];

		if (gateway_listeners[i].fd < 0)
			continue;
		describe(&gateway_listeners[i], gateway_listeners[i].bound_port, one, sizeof(one));
		snprintf(text + len, room - len, "%s%s", len > 0 ? ", " : "", one);
	}
}

/* Tells the world, and shared memory. */
static void
publish(void)
{
	char		text[sizeof(gateway.slot->listen)];

	gateway_listen_describe(text, sizeof(text));
	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	strlcpy(gateway.slot->listen, text, sizeof(gateway.slot->listen));
	LWLockRelease(gateway_shared->lock);
	if (text[0] != '\0')
		ereport(LOG, (errmsg("musicverse gateway %d listens on %s", gateway.place - MV_PLACE_GATEWAY, text)));
}

bool
gateway_listen_open(void)
{
	static bool failed_before[MAX_LISTENERS];
	Listener	wanted[MAX_LISTENERS];
	char		bad[100];
	int			errors[MAX_LISTENERS] = {0};
	int			n = parse_list(gateway_listen, wanted, bad, sizeof(bad));
	bool		ok = true;
	bool		changed = false;

	Assert(n >= 0);
	/* what stays is kept */
	for (int i = 0; i < n; i++)
		for (int j = 0; j < gateway_nlisteners; j++)
			if (gateway_listeners[j].fd >= 0 && wanted[i].fd < 0 && wanted[i].port == gateway_listeners[j].port &&
				(wanted[i].port != 0 || i == j) &&
				memcmp(&wanted[i].address, &gateway_listeners[j].address, sizeof(Address)) == 0)
			{
				wanted[i] = gateway_listeners[j];
				gateway_listeners[j].fd = -1;
			}
	for (int j = 0; j < gateway_nlisteners; j++)
	{
		changed |= gateway_listeners[j].fd >= 0;
		close_listener(&gateway_listeners[j]);
	}

	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	if (strcmp(gateway_shared->listen, gateway_listen) != 0)
	{
		strlcpy(gateway_shared->listen, gateway_listen, sizeof(gateway_shared->listen));
		memset(gateway_shared->port, 0, sizeof(gateway_shared->port));
		/* whoever comes first with the new list sees to it that the others follow */
		for (int i = 0; i < n; i++)
			if (wanted[i].fd >= 0)
				gateway_shared->port[i] = wanted[i].bound_port;
	}
	for (int i = 0; i < n; i++)
		if (wanted[i].fd < 0)
		{
			if (open_listener(&wanted[i], i))
				changed = true;
			else
			{
				errors[i] = errno;
				ok = false;
			}
		}
	/* before others look: they would take our sockets for a stranger's */
	gateway.slot->port = 0;
	for (int i = n - 1; i >= 0; i--)
		if (wanted[i].fd >= 0)
			gateway.slot->port = wanted[i].bound_port;
	LWLockRelease(gateway_shared->lock);

	memcpy(gateway_listeners, wanted, n * sizeof(Listener));
	gateway_nlisteners = n;
	for (int i = 0; i < MAX_LISTENERS; i++)
	{
		if (errors[i] != 0 && !failed_before[i])
		{
			char		text[INET6_ADDRSTRLEN + 16];

			describe(&wanted[i], wanted[i].port, text, sizeof(text));
			errno = errors[i];
			ereport(LOG,
					(errcode_for_socket_access(),
					 errmsg("musicverse gateway could not listen on %s: %m", text),
					 errors[i] == EADDRINUSE ?
					 errhint("Is something else listening there? "
							 "Choose another port in musicverse.gateway_listen; it is tried again meanwhile.") :
					 errhint("Correct musicverse.gateway_listen; it is tried again meanwhile.")));
		}
		failed_before[i] = errors[i] != 0;
	}
	if (changed)
		publish();
	return ok;
}

void
gateway_listen_close(void)
{
	for (int i = 0; i < gateway_nlisteners; i++)
		close_listener(&gateway_listeners[i]);
	gateway_nlisteners = 0;
}
