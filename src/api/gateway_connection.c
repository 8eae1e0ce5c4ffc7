/*
 * Connections: accepted here and handed to libmicrohttpd, which reads, writes
 * and closes them.
 *
 * Their number is bounded, in all and for each address (peers in
 * musicverse.trusted_proxies bring everybody's, and are not counted by
 * address). Where there is no room, the one that has been idle longest makes
 * room; when none is idle, the new one is told so and closed.
 *
 * Deadlines are for the whole: a request must be complete within
 * musicverse.gateway_request_timeout, however slowly its bytes come; the next
 * must begin within musicverse.gateway_keepalive_timeout; whoever takes an answer
 * must take a kilobyte a second of it. libmicrohttpd's own time-out, which
 * any byte puts off, isn't used.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/gateway_int.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define MIN_BYTES_PER_SECOND 1024

/* How many connections an address has */
typedef struct Peer
{
	Address		address;		/* key, zeroed before it is filled in */
	int			connections;
} Peer;

static dlist_head connections = DLIST_STATIC_INIT(connections);	/* in the order of their last request */
static HTAB *peers;
static Connection *incoming;

void
gateway_connections_init(void)
{
	HASHCTL		control = {.keysize = sizeof(Address), .entrysize = sizeof(Peer), .hcxt = TopMemoryContext};

	peers = hash_create("musicverse peers", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
address_of(const struct sockaddr_storage *storage, Address *address)
{
	memset(address, 0, sizeof(*address));
	address->family = storage->ss_family == AF_INET6 ? AF_INET6 : AF_INET;
	if (storage->ss_family == AF_INET6)
		memcpy(address->bytes, &((const struct sockaddr_in6 *) storage)->sin6_addr, 16);
	else
		memcpy(address->bytes, &((const struct sockaddr_in *) storage)->sin_addr, 4);
}

void
gateway_answer_raw(int fd, int status)
{
	char		text[256];
	int			len = snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n",
							   status, gateway_title(status), status == 503 || status == 429 ? "Retry-After: 1\r\n" : "");
	ssize_t		ignored = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void) ignored;
}

/* Ends the one that has waited longest for a request. libmicrohttpd sees the end of it and cleans up. */
static bool
make_room(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &connections)
	{
		Connection *connection = dlist_container(Connection, node, iter.cur);

		if (connection->state != WAITING || connection->since == 0)
			continue;
		connection->since = 0;
		shutdown(connection->fd, SHUT_RDWR);
		return true;
	}
	return false;
}

/* An address as it is counted: IPv6 by its network of 64 bits, as one host has all of it. */
static Address
counted_as(const Connection *connection)
{
	Address		address = connection->peer;

	if (address.family == AF_INET6)
		memset(address.bytes + 8, 0, 8);
	return address;
}

/* Counts the connection among those of its address; false when there are too many. */
static bool
count_peer(Connection *connection)
{
	Address		address = counted_as(connection);
	bool		found;
	Peer	   *peer;

	if (gateway_connections_per_address == 0 || gateway_in(mv_trusted_proxies, &connection->peer))
		return true;
	peer = hash_search(peers, &address, HASH_ENTER_NULL, &found);
	if (peer == NULL)
		return false;
	if (!found)
		peer->connections = 0;
	if (peer->connections >= gateway_connections_per_address)
		return false;
	peer->connections++;
	connection->counted = true;
	return true;
}

static void
forget(Connection *connection)
{
	if (connection->counted)
	{
		Address		address = counted_as(connection);
		Peer	   *peer = hash_search(peers, &address, HASH_FIND, NULL);

		if (peer != NULL && --peer->connections <= 0)
			hash_search(peers, &address, HASH_REMOVE, NULL);
	}
	free(connection->target);
	free(connection->body);
	free(connection);
}

static void
refuse(int fd, Connection *connection, int status)
{
	pg_atomic_fetch_add_u64(&gateway.slot->refused, 1);
	gateway_answer_raw(fd, status);
	close(fd);
	if (connection != NULL)
		forget(connection);
}

static void
take(int fd, const struct sockaddr_storage *storage, socklen_t len)
{
	static const int on = 1;
	Connection *connection = calloc(1, sizeof(Connection));

	if (connection == NULL)
	{
		refuse(fd, NULL, 503);
		return;
	}
	address_of(storage, &connection->peer);
	connection->fd = fd;
	if (!count_peer(connection))
	{
		refuse(fd, connection, 429);
		return;
	}
	if (gateway.nconnections >= gateway_max_connections && !make_room())
	{
		refuse(fd, connection, 503);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	pg_atomic_fetch_add_u64(&gateway.slot->accepted, 1);
	incoming = connection;
	/* closes the descriptor when it fails */
	if (MHD_add_connection(gateway.daemon, fd, (const struct sockaddr *) storage, len) != MHD_YES)
		pg_atomic_fetch_add_u64(&gateway.slot->refused, 1);
	incoming = NULL;
	if (connection->mhd == NULL)
		forget(connection);
}

void
gateway_accept(Listener *listener, int at_most)
{
	static bool full = false;

	listener->ready = false;
	while (at_most-- > 0)
	{
		struct sockaddr_storage storage = {0};
		socklen_t	len = sizeof(storage);
		int			fd = accept4(listener->fd, (struct sockaddr *) &storage, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
		{
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			{
				if (!full)
					ereport(LOG,
							(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
							 errmsg("musicverse gateway could not accept a connection: %m"),
							 errhint("Lower musicverse.gateway_max_connections (now %d) or raise the limit of open files.",
									 gateway_max_connections)));
				full = true;
				make_room();
			}
			else if (errno == EINTR || errno == ECONNABORTED)
				continue;
			return;
		}
		full = false;
		take(fd, &storage, len);
	}
	listener->ready = true;		/* there may be more */
}

void
gateway_connection_notify(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	Connection *connection;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		connection = incoming;
		connection->mhd = mhd;
		connection->state = WAITING;
		connection->since = now_us();
		dlist_push_tail(&connections, &connection->node);
		gateway.nconnections++;
		*context = connection;
	}
	else
	{
		connection = *context;
		dlist_delete(&connection->node);
		gateway.nconnections--;
		if (connection->state != WAITING)
			gateway.nbusy--;
		forget(connection);
		*context = NULL;
	}
	pg_atomic_write_u32(&gateway.slot->connections, gateway.nconnections);
}

void
gateway_connection_state(Connection *connection, ConnectionState state)
{
	if (connection->state == state)
		return;
	gateway.nbusy += (state != WAITING) - (connection->state != WAITING);
	connection->state = state;
	connection->since = now_us();
	connection->acked_at = 0;
	if (state == WAITING)
	{
		dlist_delete(&connection->node);
		dlist_push_tail(&connections, &connection->node);
	}
}

/* Does the peer take its answer? Looked at once a request_timeout. */
static bool
takes_its_answer(Connection *connection, int64 now, int64 patience)
{
	struct tcp_info info;
	socklen_t	len = sizeof(info);
	uint64		before = connection->acked;
	int64		passed = now - Max(connection->acked_at, connection->since);
	bool		first = connection->acked_at == 0;

	if (passed < (first ? TICK_US : patience))
		return true;
	memset(&info, 0, sizeof(info));
	if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return true;
	connection->acked = info.tcpi_bytes_acked;
	connection->acked_at = now;
	return first || connection->acked - before >= (uint64) (passed / TICK_US) * MIN_BYTES_PER_SECOND;
}

/*
 * Has the peer gone? libmicrohttpd takes a short read for the last and its
 * epoll tells a change only once, so an end that came along with the bytes
 * before it isn't seen by it.
 */
static bool
is_gone(const Connection *connection)
{
	char		byte;

	return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void
gateway_sweep(void)
{
	int64		now = now_us();
	int64		reading = gateway_request_timeout * INT64CONST(1000);
	int64		idle = gateway_keepalive_timeout * INT64CONST(1000);
	dlist_iter	iter;

	dlist_foreach(iter, &connections)
	{
		Connection *connection = dlist_container(Connection, node, iter.cur);
		int64		passed = now - connection->since;
		bool		slow;

		if (connection->state == WAITING)
		{
			/* who has just connected is to ask something */
			slow = passed > (connection->target == NULL ? Min(reading, idle) : idle) || is_gone(connection);
		}
		else if (connection->state == READING)
		{
			slow = passed > reading;
			if (slow)
				gateway_answer_raw(connection->fd, 408);
			else if (is_gone(connection))
				shutdown(connection->fd, SHUT_RDWR);
		}
		else
			slow = !takes_its_answer(connection, now, reading);
		if (slow)
		{
			connection->since = now;
			shutdown(connection->fd, SHUT_RDWR);
			if (connection->state != WAITING)
				pg_atomic_fetch_add_u64(&gateway.slot->timed_out, 1);
		}
	}
}

void
gateway_close_idle(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &connections)
	{
		Connection *connection = dlist_container(Connection, node, iter.cur);

		if (connection->state == WAITING)
			shutdown(connection->fd, SHUT_RDWR);
	}
}
