/*
 * Requests at a steady rate, whatever the answers take: what a caller waits at
 * a load that the server can bear. Each request has a time at which it is due;
 * what it waits for is counted from then, so that a server that stalls is told
 * of all who would have come meanwhile.
 *
 * usage: paced PORT PATH HEADER RATE SECONDS
 * One thread, CONNECTIONS connections to 127.0.0.1. Prints one line of JSON
 * with microseconds; the exit status is 1 when an answer wasn't 200.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define CONNECTIONS		32
#define ANSWER_MAX		65536

typedef struct Connection
{
	int64_t		due;			/* of the request under way; 0 = idle */
	size_t		len;
	char		data[ANSWER_MAX + 1];
} Connection;

static Connection connections[CONNECTIONS];
static struct pollfd fds[CONNECTIONS];

static void
die(const char *what)
{
	fprintf(stderr, "paced: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int
dial(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	int			on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* Whether the answer is whole: a head and as many bytes as it says. */
static int
is_whole(const Connection *c)
{
	const char *end = strstr(c->data, "\r\n\r\n");
	const char *length = strstr(c->data, "Content-Length: ");

	return end != NULL && length != NULL && length < end && c->len >= (size_t) (end + 4 - c->data) + strtoul(length + 16, NULL, 10);
}

static int
by_size(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	char		request[4096];
	int			request_len;
	int64_t		step,
				start,
				end,
				due;
	int64_t    *waited;
	size_t		n = 0,
				room;

	if (argc != 6)
	{
		fprintf(stderr, "usage: paced PORT PATH HEADER RATE SECONDS\n");
		return 2;
	}
	request_len = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", argv[2], argv[3]);
	step = (int64_t) (1e9 / atof(argv[4]));
	room = (size_t) (atof(argv[4]) * atof(argv[5])) + 1;
	waited = malloc(room * sizeof(int64_t));
	if (waited == NULL || request_len >= (int) sizeof(request))
		die("memory");
	for (int i = 0; i < CONNECTIONS; i++)
	{
		fds[i].fd = dial(atoi(argv[1]));
		fds[i].events = POLLIN;
	}

	start = due = now_ns();
	end = start + (int64_t) (atof(argv[5]) * 1e9);
	while (n < room)
	{
		int64_t		now = now_ns();
		int			busy = 0;
		struct timespec wait = {0};

		for (int i = 0; i < CONNECTIONS; i++)
		{
			Connection *c = &connections[i];

			if (c->due == 0 && due <= now && due < end)
			{
				c->due = due;
				c->len = 0;
				due += step;
				if (write(fds[i].fd, request, request_len) != request_len)
					die("write");
			}
			busy += c->due != 0;
		}
		if (busy == 0 && due >= end)
			break;
		if (busy < CONNECTIONS && due < end && due > now)
			wait.tv_nsec = due - now;
		else if (busy == CONNECTIONS || due >= end)
			wait.tv_sec = 1;
		if (ppoll(fds, CONNECTIONS, &wait, NULL) < 0)
			die("poll");
		for (int i = 0; i < CONNECTIONS; i++)
		{
			Connection *c = &connections[i];
			ssize_t		got;

			if (fds[i].revents == 0)
				continue;
			got = read(fds[i].fd, c->data + c->len, ANSWER_MAX - c->len);
			if (got <= 0)
				die("read");
			c->len += got;
			c->data[c->len] = '\0';
			if (!is_whole(c))
				continue;
			if (strncmp(c->data, "HTTP/1.1 200 ", 13) != 0)
			{
				fprintf(stderr, "paced: %.*s\n", (int) strcspn(c->data, "\r"), c->data);
				return 1;
			}
			if (n < room)
				waited[n++] = now_ns() - c->due;
			c->due = 0;
		}
	}
	if (n == 0)
		die("nothing was answered");
	qsort(waited, n, sizeof(int64_t), by_size);
	printf("{\"answers\": %zu, \"rate\": %.0f, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}\n", n, n / ((now_ns() - start) / 1e9),
		   waited[n / 2] / 1e3, waited[n * 99 / 100] / 1e3, waited[n - 1] / 1e3);
	return 0;
}
