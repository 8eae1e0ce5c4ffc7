/*
 * libmicrohttpd's callbacks: a request, from its first line to its answer.
 *
 * It tells the first line, then the head, then pieces of the body, then that
 * all is there. What is wrong with the head is answered before the body is
 * read, and the connection closed, as nobody can tell where the next request
 * would begin.
 *
 * Nothing here raises; memory of a connection is malloc's.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "api/gateway_int.h"
#include "api/problem.h"
#include "core/uuid7.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define KEPT_ROOM	16384

/* The one whose head was read last; without a body it is also the next to be answered. */
static Request current;

static Connection *
connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info != NULL ? info->socket_context : NULL;
}

/*
 * libmicrohttpd is about to take the query apart, for which it has no room
 * when there are thousands of parameters, and then never answers. Nobody needs
 * the parts: the buffer is its own and the connection's, so the query ends here.
 */
static void
leave_query_alone(const char *uri, size_t len)
{
	char	   *query = len > 0 ? memchr(unconstify(char *, uri), '?', len) : NULL;

	if (query != NULL)
		query[1] = '\0';
}

/* The first line has come. The target is copied, as libmicrohttpd cuts it up. */
void *
gateway_request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	Connection *connection = connection_of(mhd);
	size_t		len = uri != NULL ? strlen(uri) : 0;

	gateway_connection_state(connection, READING);
	connection->received_us = connection->since;
	connection->target_at = uri;
	connection->target_len = 0;
	connection->begun = false;
	connection->too_large = false;
	connection->expects_body = connection->chunked = false;
	connection->body_len = connection->body_dropped = 0;
	if (len + 1 > connection->target_room)
	{
		size_t		room = Max(256, len + 1);
		char	   *grown = realloc(connection->target, room);

		if (grown == NULL)
			return NULL;		/* an empty target is refused */
		connection->target = grown;
		connection->target_room = room;
	}
	if (len > 0)
		memcpy(connection->target, uri, len);
	connection->target[len] = '\0';
	connection->target_len = len;
	leave_query_alone(uri, len);
	return NULL;
}

void
gateway_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
	Connection *connection = connection_of(mhd);

	if (connection == NULL)
		return;
	if (connection->body_room > KEPT_ROOM)
	{
		free(connection->body);
		connection->body = NULL;
		connection->body_room = 0;
	}
	gateway_connection_state(connection, WAITING);
}

const MvField *
gateway_field(const Request *request, const char *name, int *count)
{
	const MvField *found = NULL;
	size_t		len = strlen(name);
	int			n = 0;

	for (int i = 0; i < request->nfields; i++)
		if (request->fields[i].name_len == len && memcmp(request->fields[i].name, name, len) == 0)
		{
			n++;
			found = &request->fields[i];
		}
	if (count != NULL)
		*count = n;
	return found;
}

const char *
gateway_title(int status)
{
	switch (status)
	{
		case 308:
			return "Permanent Redirect";
		case 400:
			return "Bad Request";
		case 403:
			return "Forbidden";
		case 404:
			return "Not Found";
		case 405:
			return "Method Not Allowed";
		case 408:
			return "Request Timeout";
		case 413:
			return "Content Too Large";
		case 414:
			return "URI Too Long";
		case 417:
			return "Expectation Failed";
		case 429:
			return "Too Many Requests";
		case 431:
			return "Request Header Fields Too Large";
		case 501:
			return "Not Implemented";
		case 503:
			return "Service Unavailable";
		default:
			return "Internal Server Error";
	}
}

/* Counts an answer, writes the access log. */
static void
account(const Request *request, const MvApiResponse *answer)
{
	int64		duration_us = now_us() - request->connection->received_us;

	gateway_count(answer->operation, answer->status, duration_us);
	pg_atomic_fetch_add_u64(&gateway.slot->bytes_in, request->connection->target_len + request->connection->body_len);
	pg_atomic_fetch_add_u64(&gateway.slot->bytes_out, request->is_head ? 0 : answer->body_len);
	if (gateway_access_log != ACCESS_LOG_OFF)
		gateway_log(request, answer, duration_us);
}

enum MHD_Result
gateway_send(Request *request, const MvApiResponse *answer, struct MHD_Response *made)
{
	struct MHD_Response *response = made;
	enum MHD_Result ok = MHD_YES;

	if (response == NULL)
		response = MHD_create_response_from_buffer(answer->body_len, unconstify(char *, answer->body), MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	for (int i = 0; i < answer->nheaders && ok == MHD_YES; i++)
		if (answer->headers[i].value[0] != '\0')	/* libmicrohttpd takes no empty ones */
			ok = MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
	if (ok == MHD_YES && (request->close || gateway.stopping))
		ok = MHD_add_response_header(response, "Connection", "close");
	if (ok == MHD_YES)
		ok = MHD_queue_response(request->connection->mhd, answer->status, response);
	MHD_destroy_response(response);
	gateway_connection_state(request->connection, ANSWERING);
	account(request, answer);
	return ok;
}

enum MHD_Result
gateway_problem(Request *request, int status, const char *detail)
{
	char		id[37];
	MvApiResponse answer = {.status = status, .operation = "none", .request_id = id};
	const char *title = gateway_title(status);
	const char *type = mv_problem_type(status, &title);
	char		body[512];

	gateway_make_id(id);
	/* what is said here needs no escape */
	answer.body_len = snprintf(body, sizeof(body),
							   "{\"type\":\"%s%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\",\"request_id\":\"%s\"}\n",
							   type == NULL ? "about:blank" : "/problems/", type == NULL ? "" : type, title, status, detail, id);
	answer.body = body;
	answer.headers[answer.nheaders++] = (MvHeader) {"Content-Type", "application/problem+json"};
	answer.headers[answer.nheaders++] = (MvHeader) {"Cache-Control", "no-store"};
	answer.headers[answer.nheaders++] = (MvHeader) {"X-Request-Id", id};
	if (status == 503)
		answer.headers[answer.nheaders++] = (MvHeader) {"Retry-After", "1"};
	return gateway_send(request, &answer, NULL);
}

/* Where only https is to be spoken: a page is told where, anything else that it must not be. */
static enum MHD_Result
refuse_http(Request *request)
{
	const MvField *host = gateway_field(request, "host", NULL);
	bool		is_page = strncmp(request->path, "/api/", 5) != 0 &&
		(request->is_head || strcmp(request->method, "GET") == 0);
	MvApiResponse answer = {.status = 308, .operation = "none", .request_id = "", .body = ""};
	char	   *location;
	enum MHD_Result result;

	if (!is_page || host == NULL || host->value_len == 0)
		return gateway_problem(request, 403, "This server is to be asked by https only.");
	location = malloc(host->value_len + request->connection->target_len + 10);
	if (location == NULL)
		return MHD_NO;
	sprintf(location, "https://%.*s%s", (int) host->value_len, host->value, request->connection->target);
	answer.headers[answer.nheaders++] = (MvHeader) {"Location", location};
	result = gateway_send(request, &answer, NULL);
	free(location);
	return result;
}

static bool
is_probe(const Request *request)
{
	return strcmp(request->path, "/healthz") == 0 || strcmp(request->path, "/readyz") == 0 || strcmp(request->path, "/metrics") == 0;
}

static enum MHD_Result
answer(Request *request)
{
	static char path[MAX_TARGET + 1];
	Connection *connection = request->connection;
	MvApiResponse response;
	enum MHD_Result result;

	request->path_len = strcspn(connection->target, "?");
	memcpy(path, connection->target, request->path_len);
	path[request->path_len] = '\0';
	request->path = path;
	gateway_find_client(request);

	if (connection->too_large)
		return gateway_problem(request, 413, "The body is larger than this server takes.");
	if (gateway_require_https && !request->https && !is_probe(request))
		return refuse_http(request);
	if (gateway_own(request, &result))
		return result;
	gateway_dispatch(request, &response);
	result = gateway_send(request, &response, NULL);
	MemoryContextReset(gateway.request_context);
	return result;
}

/* The head has come: judge it. An answer given now is libmicrohttpd's last on this connection. */
static enum MHD_Result
handle_head(Request *request, const char *method, const char *version)
{
	int			status;
	const char *wrong = gateway_judge_head(request, method, version, &status);

	request->connection->begun = true;
	request->close = wrong != NULL;
	if (wrong == NULL)
		return MHD_YES;
	request->path = "?";
	request->path_len = 1;
	request->client = request->connection->peer;
	return gateway_problem(request, status, wrong);
}

/* A piece of the body; false when there is no end to what is too much. */
static bool
take_body(Connection *connection, const char *data, size_t size)
{
	if (connection->too_large || connection->body_len + size > (size_t) mv_max_request_body)
	{
		connection->too_large = true;
		connection->body_len = 0;
		connection->body_dropped += size;
		return connection->body_dropped <= PATIENCE_WITH_BODY;
	}
	if (connection->body_len + size + 1 > connection->body_room)
	{
		size_t		room = Max(1024, connection->body_room);
		char	   *grown;

		while (room < connection->body_len + size + 1)
			room *= 2;
		grown = realloc(connection->body, room);
		if (grown == NULL)
			return false;
		connection->body = grown;
		connection->body_room = room;
	}
	memcpy(connection->body + connection->body_len, data, size);
	connection->body_len += size;
	connection->body[connection->body_len] = '\0';
	return true;
}

enum MHD_Result
gateway_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
			   const char *version, const char *data, size_t *size, void **context)
{
	Connection *connection = connection_of(mhd);
	int			status;

	if (!connection->begun)
	{
		current.connection = connection;
		return handle_head(&current, method, version);
	}
	if (*size > 0)
	{
		size_t		n = *size;

		*size = 0;
		if (take_body(connection, data, n))
			return MHD_YES;
		gateway_answer_raw(connection->fd, connection->too_large ? 413 : 503);
		return MHD_NO;
	}
	/* while its body came, others may have been read */
	if (current.connection != connection || connection->expects_body)
	{
		current.connection = connection;
		if (gateway_judge_head(&current, method, version, &status) != NULL)
			return MHD_NO;
	}
	/* before 1.0 libmicrohttpd ends chunks at a bare LF too: what follows one could be another request to a proxy's mind */
	current.close = connection->too_large || (connection->chunked && MHD_VERSION < 0x01000000);
	return answer(&current);
}
