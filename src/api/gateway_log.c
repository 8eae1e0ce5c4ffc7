/*
 * The access log: a message a request in the server's log. It names who asked
 * for what and what became of it, never a header and never the query, which
 * may hold secrets. What a stranger sent is shown in printable ASCII.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "api/gateway_int.h"
#include "core/uuid7.h"

#define SHOWN 200				/* characters of a path */

static void
printable(char *out, size_t room, const char *text, size_t len)
{
	size_t		at = 0;

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		if (at + 5 > room)
			break;
		if (c > ' ' && c < 0x7f && c != '"' && c != '\\')
			out[at++] = c;
		else
			at += snprintf(out + at, room - at, "\\x%02x", c);
	}
	out[at] = '\0';
}

void
gateway_log(const Request *request, const MvApiResponse *answer, int64 duration_us)
{
	char		method[40];
	char		path[SHOWN];
	char		address[INET6_ADDRSTRLEN];
	char		user[40] = "-";

	if (gateway_access_log == ACCESS_LOG_OFF || (gateway_access_log == ACCESS_LOG_ERRORS && answer->status < 400))
		return;
	printable(method, sizeof(method), request->method, request->method_len);
	printable(path, sizeof(path), request->path, request->path_len);
	gateway_address_text(&request->client, address, sizeof(address));
	if (answer->has_user)
		mv_uuid_text(&answer->user_id, user);
	ereport(LOG,
			(errmsg("access: %s \"%s %s\" %d %zu bytes %.3f ms operation=%s user=%s request=%s",
					address, method, path, answer->status, answer->body_len, duration_us / 1000.0,
					answer->operation, user, answer->request_id[0] != '\0' ? answer->request_id : "-"),
			 errhidestmt(true), errhidecontext(true)));
}
