/*
 * The headers of a request that mean something here, and what the client
 * would take as an answer.
 */
#include "postgres.h"

#include "api/problem.h"
#include "api/request.h"
#include "core/uuid7.h"

static const struct
{
	const char *name;
	bool		is_list;		/* may come several times, which is the same as once with commas */
}			known[MV_HEADERS] = {
	[MV_H_ACCEPT] = {"accept", true},
	[MV_H_REQUEST_METHOD] = {"access-control-request-method", false},
	[MV_H_AUTHORIZATION] = {"authorization", false},
	[MV_H_CONTENT_ENCODING] = {"content-encoding", true},
	[MV_H_CONTENT_TYPE] = {"content-type", false},
	[MV_H_IDEMPOTENCY_KEY] = {"idempotency-key", false},
	[MV_H_IF_NONE_MATCH] = {"if-none-match", true},
	[MV_H_ORIGIN] = {"origin", false},
	[MV_H_API_KEY] = {"x-api-key", false},
	[MV_H_REQUEST_ID] = {"x-request-id", true},
	[MV_H_SIGNATURE] = {"x-signature", false},
	[MV_H_TIMESTAMP] = {"x-timestamp", false},
};

#define MAX_HEADERS	1000		/* of handle_request(): the gateway takes less */
#define MAX_LIST	16384		/* bytes of a header that came several times */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

static int
find_known(const MvField *field)
{
	for (int h = 0; h < MV_HEADERS; h++)
		if (known[h].name[0] == field->name[0] && strlen(known[h].name) == field->name_len &&
			memcmp(known[h].name, field->name, field->name_len) == 0)
			return h;
	return -1;
}

bool
mv_read_headers(MvApiCall *call)
{
	int			twice = -1;

	if (call->request->nheaders > MAX_HEADERS)
		return mv_problem(call, MV_P_BAD_REQUEST, "The request has more than %d headers.", MAX_HEADERS);
	for (int i = 0; i < call->request->nheaders; i++)
	{
		const MvField *field = &call->request->headers[i];
		const char *value = field->value;
		Size		len = field->value_len;
		int			h = field->name_len == 0 ? -1 : find_known(field);

		if (h < 0)
			continue;
		while (len > 0 && is_space(value[0]))
			value++, len--;
		while (len > 0 && is_space(value[len - 1]))
			len--;
		if (memchr(value, '\0', len) != NULL || memchr(value, '\n', len) != NULL || memchr(value, '\r', len) != NULL)
			return mv_problem(call, MV_P_BAD_REQUEST, "The header %s has a control character.", known[h].name);
		if (call->headers[h] == NULL)
			call->headers[h] = pnstrdup(value, len);
		else if (known[h].is_list && strlen(call->headers[h]) + len > MAX_LIST)
			return mv_problem(call, MV_P_BAD_REQUEST, "The header %s has more than %d bytes in all.", known[h].name, MAX_LIST);
		else if (known[h].is_list)
			call->headers[h] = psprintf("%s, %.*s", call->headers[h], (int) len, value);
		else if (twice < 0 && (strlen(call->headers[h]) != len || memcmp(call->headers[h], value, len) != 0))
			twice = h;
	}
	if (twice >= 0)
		return mv_problem(call, MV_P_BAD_REQUEST, "The header %s was sent twice, with different values.", known[twice].name);
	return true;
}

void
mv_take_request_id(MvApiCall *call)
{
	const char *id = NULL;
	pg_uuid_t	made;

	for (int i = 0; i < call->request->nheaders; i++)
	{
		const MvField *field = &call->request->headers[i];

		if (field->name_len == strlen("x-request-id") && memcmp(field->name, "x-request-id", field->name_len) == 0 &&
			field->value_len > 0 && field->value_len < sizeof(call->request_id))
		{
			id = field->value;
			for (Size c = 0; c < field->value_len; c++)
				if (!((unsigned char) id[c] < 0x80 && (isalnum((unsigned char) id[c]) || strchr("-._:", id[c]) != NULL)) || id[c] == '\0')
				{
					id = NULL;
					break;
				}
			if (id != NULL)
			{
				memcpy(call->request_id, id, field->value_len);
				call->request_id[field->value_len] = '\0';
			}
			break;
		}
	}
	if (id == NULL)
	{
		mv_uuid7(&made);
		mv_uuid_text(&made, call->request_id);
	}
	call->response->request_id = call->request_id;
}

/* --- Accept (RFC 9110, 12.5.1) --------------------------------------------- */

/* How well a media range fits a type: 3 exactly, 2 by its main type, 1 as anything, 0 not at all */
static int
fits(const char *range, Size len, const char *type)
{
	Size		type_len = strcspn(type, ";");
	Size		main_len = strcspn(type, "/");

	while (type_len > 0 && type[type_len - 1] == ' ')
		type_len--;
	if (len == type_len && pg_strncasecmp(range, type, len) == 0)
		return 3;
	if (len == main_len + 2 && pg_strncasecmp(range, type, main_len + 1) == 0 && range[len - 1] == '*')
		return 2;
	return len == 3 && memcmp(range, "*/*", 3) == 0 ? 1 : 0;
}

/* Is a range's weight zero? */
static bool
is_refused(const char *parameters, const char *end)
{
	for (const char *at = parameters; at < end; at++)
		if (*at == ';')
		{
			const char *name = at + 1;

			while (name < end && is_space(*name))
				name++;
			if (end - name >= 3 && (name[0] == 'q' || name[0] == 'Q') && name[1] == '=')
				return strspn(name + 2, "0.") == end - name - 2 - strspn(name + 2 + strspn(name + 2, "0."), " \t");
		}
	return false;
}

bool
mv_check_accept(MvApiCall *call)
{
	const char *accept = call->headers[MV_H_ACCEPT];
	int			best = 0;
	bool		refused = false;

	if (accept == NULL || accept[0] == '\0')
		return true;
	for (const char *at = accept; *at != '\0';)
	{
		Size		len = strcspn(at, ",");
		const char *end = at + len;
		Size		range;
		int			fit;

		while (at < end && is_space(*at))
			at++;
		range = Min(strcspn(at, ";"), (Size) (end - at));
		fit = fits(at, range - (range > 0 && is_space(at[range - 1]) ? 1 : 0), call->route->response_type);
		if (fit > best)
		{
			best = fit;
			refused = is_refused(at + range, end);
		}
		at = *end == ',' ? end + 1 : end;
	}
	if (best > 0 && !refused)
		return true;
	return mv_problem(call, MV_P_NOT_ACCEPTABLE, "The answer is %s, which the header Accept excludes.", call->route->response_type);
}
