/*
 * The time from a commit to the request at the receiver, on an idle system,
 * one event at a time. Client and receiver are two threads of this process, so
 * that both moments are read from one clock.
 *
 * For every event: begin, the statement given, then t0, commit, t1 when the
 * commit has returned, and t2 when the receiver has read the whole request.
 * Reported are t2 - t1 (what the subscriber waits after the caller has its
 * answer; negative when the request was faster than the answer) and t2 - t0,
 * which includes the commit itself. A pause with a random part follows each
 * event, so that nothing runs in step.
 *
 * usage: latency CONNINFO COUNT SETUP_SQL EVENT_SQL
 * SETUP_SQL gets the receiver's URL as $1. Prints one line of JSON with
 * microseconds; the exit status is 1 when a request stayed away.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <libpq-fe.h>

#define CONNECTIONS		64
#define REQUEST_MAX		65536
#define WARM_UP			50
#define WAIT_SECONDS	10

typedef struct Connection
{
	int			fd;
	size_t		len;
	char		data[REQUEST_MAX + 1];
} Connection;

static int	listener;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static long requests;			/* guarded by lock */
static int64_t last_request;	/* guarded by lock */

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "latency: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
	exit(2);
}

static int64_t
micros(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* The length of the first complete request in the buffer, 0 when none is */
static size_t
complete_request(Connection *c)
{
	char	   *end;
	char	   *length;
	size_t		total;

	c->data[c->len] = '\0';
	end = strstr(c->data, "\r\n\r\n");
	if (end == NULL)
		return 0;
	total = end + 4 - c->data;
	length = strcasestr(c->data, "\r\ncontent-length:");
	if (length != NULL && length < end)
		total += strtoul(length + sizeof("\r\ncontent-length:") - 1, NULL, 10);
	if (total > REQUEST_MAX)
		die("a request is too long", NULL);
	return c->len >= total ? total : 0;
}

/* Reads what is there; answers and notes a request that is complete. False when the peer is gone. */
static int
serve(Connection *c)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	ssize_t		got = recv(c->fd, c->data + c->len, REQUEST_MAX - c->len, 0);
	size_t		used;

	if (got <= 0)
		return got < 0 && errno == EINTR;
	c->len += got;
	while ((used = complete_request(c)) > 0)
	{
		int64_t		now = micros();

		pthread_mutex_lock(&lock);
		requests++;
		last_request = now;
		pthread_cond_signal(&arrived);
		pthread_mutex_unlock(&lock);

		if (send(c->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
			return 0;
		memmove(c->data, c->data + used, c->len - used);
		c->len -= used;
	}
	return 1;
}

static void *
receive(void *unused)
{
	static Connection connections[CONNECTIONS];
	struct pollfd fds[CONNECTIONS + 1];
	int			n = 0;

	(void) unused;
	for (;;)
	{
		fds[0] = (struct pollfd) {listener, POLLIN, 0};
		for (int i = 0; i < n; i++)
			fds[i + 1] = (struct pollfd) {connections[i].fd, POLLIN, 0};
		if (poll(fds, n + 1, -1) < 0 && errno != EINTR)
			die("poll", strerror(errno));

		/* backwards, since the last one takes the place of one that ends */
		for (int i = n - 1; i >= 0; i--)
			if (fds[i + 1].revents != 0 && !serve(&connections[i]))
			{
				close(connections[i].fd);
				connections[i] = connections[--n];
			}
		if (fds[0].revents & POLLIN)
		{
			int			fd = accept(listener, NULL, NULL);
			int			on = 1;

			if (fd < 0)
				continue;
			if (n == CONNECTIONS)
				die("too many connections", NULL);
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			connections[n].fd = fd;
			connections[n++].len = 0;
		}
	}
	return NULL;
}

static int
start_receiver(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(address);
	pthread_t	thread;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, len) != 0 ||
		listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *) &address, &len) != 0)
		die("could not listen", strerror(errno));
	if (pthread_create(&thread, NULL, receive, NULL) != 0)
		die("could not start the receiver", NULL);
	return ntohs(address.sin_port);
}

static void
run(PGconn *conn, const char *sql)
{
	PGresult   *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die(sql, PQerrorMessage(conn));
	PQclear(result);
}

/* Waits until the requests are as many as wanted; returns when the last came, or -1 */
static int64_t
await(long wanted)
{
	struct timespec deadline;
	int64_t		when;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&lock);
	while (requests < wanted && pthread_cond_timedwait(&arrived, &lock, &deadline) != ETIMEDOUT)
		;
	when = requests >= wanted ? last_request : -1;
	pthread_mutex_unlock(&lock);
	return when;
}

static int
compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static void
print_row(const char *name, int64_t *values, long n, const char *tail)
{
	qsort(values, n, sizeof(*values), compare);
	printf("\"%s\":{\"min\":%ld,\"p50\":%ld,\"p95\":%ld,\"p99\":%ld,\"max\":%ld}%s", name,
		   (long) values[0], (long) values[n / 2], (long) values[n * 95 / 100],
		   (long) values[n * 99 / 100], (long) values[n - 1], tail);
}

int
main(int argc, char **argv)
{
	long		count = argc == 5 ? atol(argv[2]) : 0;
	int64_t    *after = calloc(count + 1, sizeof(int64_t));
	int64_t    *whole = calloc(count + 1, sizeof(int64_t));
	char		url[64];
	const char *params[] = {url};
	PGconn	   *conn;
	PGresult   *result;

	if (count < 1 || after == NULL || whole == NULL)
		die("usage: latency CONNINFO COUNT SETUP_SQL EVENT_SQL", NULL);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hook/latency", start_receiver());

	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
	result = PQexecParams(conn, argv[3], 1, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		die(argv[3], PQerrorMessage(conn));
	PQclear(result);

	for (long i = -WARM_UP; i < count; i++)
	{
		struct timespec pause = {0, 2000000 + random() % 3000000};
		int64_t		t0;
		int64_t		t1;
		int64_t		t2;

		run(conn, "begin");
		run(conn, argv[4]);
		t0 = micros();
		run(conn, "commit");
		t1 = micros();
		t2 = await(i + WARM_UP + 1);
		if (t2 < 0)
		{
			fprintf(stderr, "latency: no request for event %ld within %d s\n", i + WARM_UP + 1, WAIT_SECONDS);
			return 1;
		}
		if (i >= 0)
		{
			after[i] = t2 - t1;
			whole[i] = t2 - t0;
		}
		nanosleep(&pause, NULL);
	}
	PQfinish(conn);

	printf("{\"events\":%ld,", count);
	print_row("after_commit", after, count, ",");
	print_row("with_commit", whole, count, "}\n");
	return 0;
}
