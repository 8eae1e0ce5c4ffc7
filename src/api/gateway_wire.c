/*
 * Is a request's head what HTTP/1.1 wants it to be? What two parsers could
 * read differently is refused, as that is what requests are smuggled through:
 * several lengths of the body, a length beside a transfer coding, lines that
 * end in a bare LF, folded headers, NULs and other control characters, spaces
 * where none belong, a missing or second Host.
 *
 * libmicrohttpd before 1.0 lets some of it pass: it ends a line at a bare LF,
 * a value at a NUL, joins folded lines and skips spaces in the first line. As it cuts the
 * head up in place, putting a NUL wherever something ended, a head that was
 * well formed shows in where the pieces lie: each begins exactly behind the
 * one before and the separator that belongs between. From 1.0 on the library
 * refuses these by itself (MHD_OPTION_CLIENT_DISCIPLINE_LVL). The older one's
 * strict mode isn't asked for: it closes without a word, or answers twice.
 */
#include "postgres.h"

#include "api/gateway_int.h"

#define PIECES_LIE_IN_PLACE (MHD_VERSION < 0x01000000)

typedef struct Walk
{
	Request    *request;
	char	   *room;			/* for names in small letters */
	char	   *room_end;
	const char *next;			/* where the next header must begin */
	bool		too_many;
	bool		misplaced;
	bool		bad_name;
	bool		bad_value;
} Walk;

/* What a token may hold: RFC 9110, 5.6.2; letters as small ones */
static const char token[256] = {
	['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*', ['+'] = '+',
	['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|', ['~'] = '~',
	['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
	['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
	['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',
	['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z',
	['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',
	['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',
	['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

/* Takes one header over: its name in small letters, its value without the spaces around it. */
static enum MHD_Result
take_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value, size_t value_len)
{
	Walk	   *walk = cls;
	Request    *request = walk->request;
	MvField    *field;

	if (request->nfields == MAX_FIELDS || name_len > (size_t) (walk->room_end - walk->room))
	{
		walk->too_many = true;
		return MHD_NO;
	}
	if (value == NULL)
		value = "";
	if (PIECES_LIE_IN_PLACE)
	{
		walk->misplaced |= name != walk->next || value < name + name_len + 1;
		walk->next = value + value_len + 2;
	}
	field = &request->fields[request->nfields++];
	field->name = walk->room;
	field->name_len = name_len;
	for (size_t i = 0; i < name_len; i++)
	{
		char		c = token[(unsigned char) name[i]];

		walk->bad_name |= c == '\0';
		walk->room[i] = c;
	}
	walk->bad_name |= name_len == 0;
	walk->room += name_len;

	while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
		value_len--;
	for (size_t i = 0; i < value_len; i++)
		walk->bad_value |= ((unsigned char) value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f;
	field->value = value;
	field->value_len = value_len;
	return MHD_YES;
}

static bool
all_of(const char *text, size_t len, const char *allowed)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0' || strchr(allowed, text[i]) == NULL)
			return false;
	return true;
}

#define DIGITS "0123456789"
#define HOST_CHARACTERS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~:[]%!$&'()*+,;="

/* How the end of the body is told: just one way, and one that can be read. */
static const char *
judge_body(Request *request, int *status)
{
	int			lengths,
				codings,
				expectations;
	const MvField *length = gateway_field(request, "content-length", &lengths);
	const MvField *coding = gateway_field(request, "transfer-encoding", &codings);
	const MvField *expectation = gateway_field(request, "expect", &expectations);
	Connection *connection = request->connection;
	bool		hopeless = false;

	connection->chunked = coding != NULL;
	*status = 400;
	if (lengths > 1)
		return "Several Content-Length headers.";
	if (codings > 1)
		return "Several Transfer-Encoding headers.";
	if (length != NULL && coding != NULL)
		return "Content-Length beside Transfer-Encoding.";
	if (coding != NULL && request->is_old)
		return "Transfer-Encoding in HTTP/1.0.";
	if (coding != NULL && (coding->value_len != 7 || pg_strncasecmp(coding->value, "chunked", 7) != 0))
	{
		*status = 501;
		return "A transfer coding other than chunked.";
	}
	if (length != NULL)
	{
		if (length->value_len == 0 || !all_of(length->value, length->value_len, DIGITS))
			return "A Content-Length that is no number.";
		int64		len = length->value_len > 18 ? PG_INT64_MAX : strtoll(length->value, NULL, 10);

		/* a little too much is read and thrown away, unless the client waits for our word */
		hopeless = len > (int64) mv_max_request_body + (expectation != NULL ? 0 : PATIENCE_WITH_BODY / 2);
		connection->expects_body = !all_of(length->value, length->value_len, "0");
	}
	else
		connection->expects_body = coding != NULL;
	if (hopeless)
	{
		*status = 413;
		return "The body is larger than this server takes.";
	}
	if (expectations > 1 || (expectation != NULL &&
							 (expectation->value_len != 12 || pg_strncasecmp(expectation->value, "100-continue", 12) != 0)))
	{
		*status = 417;
		return "An expectation other than 100-continue.";
	}
	return NULL;
}

static const char *
judge_first_line(Request *request, const char *method, const char *version)
{
	Connection *connection = request->connection;

	if (PIECES_LIE_IN_PLACE && (connection->target_at == NULL ||
								connection->target_at != method + request->method_len + 1 ||
								version != connection->target_at + connection->target_len + 1))
		return "Spaces or control characters in the first line.";
	if (request->method_len > 32)
		return "A method of more than 32 characters.";
	for (size_t i = 0; i < request->method_len; i++)
		if (token[(unsigned char) method[i]] == '\0')
			return "A method that is no token.";
	for (size_t i = 0; i < connection->target_len; i++)
		if ((unsigned char) connection->target[i] <= ' ' || (unsigned char) connection->target[i] >= 0x7f || connection->target[i] == '#')
			return "Characters in the target that must be percent-encoded.";
	if (connection->target_len == 0 ||
		(connection->target[0] != '/' && !(strcmp(connection->target, "*") == 0 && strcmp(method, "OPTIONS") == 0)))
		return "The target must be a path.";
	return NULL;
}

const char *
gateway_judge_head(Request *request, const char *method, const char *version, int *status)
{
	static char names[MAX_HEAD];
	Connection *connection = request->connection;
	const union MHD_ConnectionInfo *head = MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	Walk		walk = {.request = request, .room = names, .room_end = names + sizeof(names)};
	const MvField *host;
	const char *wrong;
	int			hosts;

	request->nfields = 0;
	request->method = method;
	request->method_len = strlen(method);
	request->is_head = strcmp(method, "HEAD") == 0;
	request->is_old = strcmp(version, "HTTP/1.0") == 0;

	if (connection->target_len > MAX_TARGET)
	{
		*status = 414;
		return "The target is longer than 8192 bytes.";
	}
	*status = 400;
	if ((wrong = judge_first_line(request, method, version)) != NULL)
		return wrong;
	walk.next = version + strlen(version) + 2;
	MHD_get_connection_values_n(connection->mhd, MHD_HEADER_KIND, take_header, &walk);
	if (walk.too_many || (head != NULL && head->header_size > MAX_HEAD))
	{
		*status = 431;
		return "More than 100 headers, or more than 16384 bytes of them.";
	}
	if (PIECES_LIE_IN_PLACE && (walk.misplaced || (head != NULL && walk.next + 2 != method + head->header_size)))
		return "Headers that are folded, hold a NUL or do not end in CR LF.";
	if (walk.bad_name)
		return "The name of a header is no token.";
	if (walk.bad_value)
		return "Control characters in the value of a header.";
	host = gateway_field(request, "host", &hosts);
	if (hosts > 1 || (hosts == 0 && !request->is_old))
		return hosts > 1 ? "Several Host headers." : "No Host header.";
	if (host != NULL && !all_of(host->value, host->value_len, HOST_CHARACTERS))
		return "A Host that is no name of a host.";
	return judge_body(request, status);
}
