/*
 * Files below musicverse.gateway_document_root, for GET and HEAD.
 *
 * A path is decoded once, then walked name by name, each opened relative to
 * the folder before and never through a symbolic link: there is no way out,
 * whatever the path says and whoever renames folders meanwhile. Names that
 * begin with a dot aren't served, nor what isn't a plain file.
 *
 * The entity tag is made of inode, size and time of change, so it is another one whenever
 * the file is another one. Where FILE.gz lies beside FILE and the client
 * takes gzip, that is sent. libmicrohttpd sends the file by sendfile(2) and
 * closes it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/gateway_int.h"
#include "utils/guc.h"

#define MAX_DEPTH	32
#define TAG_ROOM	64

typedef struct MediaType
{
	const char *extension;
	const char *type;
} MediaType;

static const MediaType media_types[] = {
	{"html", "text/html; charset=utf-8"},
	{"htm", "text/html; charset=utf-8"},
	{"css", "text/css; charset=utf-8"},
	{"js", "text/javascript; charset=utf-8"},
	{"mjs", "text/javascript; charset=utf-8"},
	{"json", "application/json"},
	{"map", "application/json"},
	{"webmanifest", "application/manifest+json"},
	{"xml", "application/xml"},
	{"txt", "text/plain; charset=utf-8"},
	{"md", "text/markdown; charset=utf-8"},
	{"csv", "text/csv; charset=utf-8"},
	{"svg", "image/svg+xml"},
	{"png", "image/png"},
	{"jpg", "image/jpeg"},
	{"jpeg", "image/jpeg"},
	{"gif", "image/gif"},
	{"webp", "image/webp"},
	{"avif", "image/avif"},
	{"ico", "image/x-icon"},
	{"woff", "font/woff"},
	{"woff2", "font/woff2"},
	{"ttf", "font/ttf"},
	{"otf", "font/otf"},
	{"mp3", "audio/mpeg"},
	{"m4a", "audio/mp4"},
	{"ogg", "audio/ogg"},
	{"wav", "audio/wav"},
	{"flac", "audio/flac"},
	{"mp4", "video/mp4"},
	{"webm", "video/webm"},
	{"pdf", "application/pdf"},
	{"wasm", "application/wasm"},
	{"zip", "application/zip"},
	{"gz", "application/gzip"},
};

bool
gateway_check_document_root(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || **newval == '\0' || **newval == '/')
		return true;
	GUC_check_errdetail("\"%s\" is not an absolute path.", *newval);
	GUC_check_errhint("Give the full path of the folder, or nothing to serve no files.");
	return false;
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes a path. False for a NUL, a control character, a backslash, or a % that begins nothing. */
static bool
decode(const char *from, char *to)
{
	for (; *from != '\0'; from++)
	{
		unsigned char c = *from;

		if (c == '%')
		{
			int			high = hex(from[1]);
			int			low = high < 0 ? -1 : hex(from[2]);

			if (low < 0)
				return false;
			c = high * 16 + low;
			from += 2;
			if (c == '/')
				return false;	/* would be a separator only now */
		}
		if (c < ' ' || c == 0x7f || c == '\\')
			return false;
		*to++ = c;
	}
	*to = '\0';
	return true;
}

/* Opens a name within a folder, which it closes. */
static int
step(int folder, const char *name, bool last)
{
	int			fd = openat(folder, name, last ? O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK :
							O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	close(folder);
	return fd;
}

/* Opens the file of a decoded path with a suffix; -1 when it can't be. *name gets its last part. */
static int
open_file(const char *path, const char *suffix, const char **name)
{
	char		part[NAME_MAX + 1];
	int			fd = open(gateway_document_root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (int depth = 0; fd >= 0; depth++)
	{
		size_t		len;
		bool		last;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		last = path[len] == '\0';
		if (depth > MAX_DEPTH || *path == '.' || len + strlen(suffix) > NAME_MAX)
		{
			close(fd);
			return -1;
		}
		if (len == 0)
			snprintf(part, sizeof(part), "index.html%s", suffix);
		else
			snprintf(part, sizeof(part), "%.*s%s", (int) len, path, last ? suffix : "");
		*name = len == 0 ? "index.html" : path;
		fd = step(fd, part, last);
		if (last)
			return fd;
		path += len;
	}
	return -1;
}

static const char *
type_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (int i = 0; dot != NULL && i < lengthof(media_types); i++)
		if (pg_strcasecmp(dot + 1, media_types[i].extension) == 0)
			return media_types[i].type;
	return "application/octet-stream";
}

/* Does Accept-Encoding name gzip, and not with q=0? */
static bool
takes_gzip(const Request *request)
{
	const MvField *field = gateway_field(request, "accept-encoding", NULL);
	const char *end = field != NULL ? field->value + field->value_len : NULL;

	for (const char *at = field != NULL ? field->value : NULL; at != NULL && at < end; at++)
	{
		const char *begin = at;
		const char *q;

		while (at < end && *at != ',')
			at++;
		while (begin < at && (*begin == ' ' || *begin == '\t'))
			begin++;
		if (at - begin < 4 || pg_strncasecmp(begin, "gzip", 4) != 0)
			continue;
		if (at - begin > 4 && begin[4] != ';' && begin[4] != ' ' && begin[4] != '\t')
			continue;
		q = memchr(begin, '=', at - begin);
		for (; q != NULL && ++q < at;)
			if (*q >= '1' && *q <= '9')
				return true;
		return memchr(begin, '=', at - begin) == NULL;
	}
	return false;
}

bool
gateway_is_listed(const Request *request, const char *tag)
{
	const MvField *list = gateway_field(request, "if-none-match", NULL);
	size_t		len = strlen(tag);
	const char *end = list != NULL ? list->value + list->value_len : NULL;

	if (list == NULL)
		return false;
	if (list->value_len == 1 && list->value[0] == '*')
		return true;
	for (const char *at = list->value; at + len <= end; at++)
		if (memcmp(at, tag, len) == 0)
			return true;
	return false;
}

static bool
is_unchanged(const Request *request, const char *tag, const char *changed)
{
	const MvField *since = gateway_field(request, "if-modified-since", NULL);

	if (gateway_field(request, "if-none-match", NULL) != NULL)
		return gateway_is_listed(request, tag);
	return since != NULL && since->value_len == strlen(changed) && memcmp(since->value, changed, since->value_len) == 0;
}

static void
add(MvApiResponse *answer, const char *name, const char *value)
{
	answer->headers[answer->nheaders++] = (MvHeader) {name, value};
}

/* A folder without its closing slash: relative links would lead astray. */
static enum MHD_Result
redirect_to_folder(Request *request)
{
	MvApiResponse answer = {.status = 308, .operation = "static", .request_id = "", .body = ""};
	char	   *location;
	enum MHD_Result result;

	/* "//host" would be another server's */
	if (request->path[1] == '/')
		return gateway_problem(request, 404, "There is no such page.");
	location = malloc(request->connection->target_len + 2);
	if (location == NULL)
		return MHD_NO;
	sprintf(location, "%s/%s", request->path, request->connection->target + request->path_len);
	add(&answer, "Location", location);
	result = gateway_send(request, &answer, NULL);
	free(location);
	return result;
}

static enum MHD_Result
send_file(Request *request, int fd, const struct stat *st, const char *name, bool zipped)
{
	MvApiResponse answer = {.status = 200, .operation = "static", .request_id = "", .body = ""};
	const char *type = type_of(name);
	char		tag[TAG_ROOM];
	char		changed[40];
	struct tm	tm;
	struct MHD_Response *made = NULL;

	snprintf(tag, sizeof(tag), "\"%llx-%llx-%llx\"", (unsigned long long) st->st_ino, (unsigned long long) st->st_size,
			 (unsigned long long) st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec);
	gmtime_r(&st->st_mtim.tv_sec, &tm);
	strftime(changed, sizeof(changed), "%a, %d %b %Y %H:%M:%S GMT", &tm);

	add(&answer, "ETag", tag);
	add(&answer, "Last-Modified", changed);
	add(&answer, "Cache-Control", "no-cache");
	add(&answer, "Vary", "Accept-Encoding");
	add(&answer, "X-Content-Type-Options", "nosniff");
	if (is_unchanged(request, tag, changed))
	{
		answer.status = 304;
		close(fd);
		return gateway_send(request, &answer, NULL);
	}
	add(&answer, "Content-Type", type);
	if (zipped)
		add(&answer, "Content-Encoding", "gzip");
	if (strncmp(type, "text/html", 9) == 0 || strcmp(type, "image/svg+xml") == 0)
	{
		add(&answer, "Content-Security-Policy", "default-src 'self'; base-uri 'self'; frame-ancestors 'none'; object-src 'none'");
		add(&answer, "Referrer-Policy", "strict-origin-when-cross-origin");
		add(&answer, "X-Frame-Options", "DENY");
	}
	answer.body_len = st->st_size;
	if (st->st_size == 0)
		close(fd);
	else if ((made = MHD_create_response_from_fd64(st->st_size, fd)) == NULL)
	{
		close(fd);
		return MHD_NO;
	}
	return gateway_send(request, &answer, made);
}

enum MHD_Result
gateway_file(Request *request)
{
	static char path[MAX_TARGET + 1];
	const char *name;
	const char *ignored;
	struct stat st;
	struct stat zipped_st;
	int			fd;
	int			zipped;

	if (!request->is_head && strcmp(request->method, "GET") != 0)
		return gateway_problem(request, 405, "Pages are only read.");
	if (!decode(request->path, path) || (fd = open_file(path, "", &name)) < 0)
		return gateway_problem(request, 404, "There is no such page.");
	if (fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
	{
		close(fd);
		return gateway_problem(request, 404, "There is no such page.");
	}
	if (S_ISDIR(st.st_mode))
	{
		close(fd);
		return redirect_to_folder(request);
	}
	if (takes_gzip(request) && (zipped = open_file(path, ".gz", &ignored)) >= 0)
	{
		if (fstat(zipped, &zipped_st) == 0 && S_ISREG(zipped_st.st_mode))
		{
			close(fd);
			return send_file(request, zipped, &zipped_st, name, true);
		}
		close(zipped);
	}
	return send_file(request, fd, &st, name, false);
}
