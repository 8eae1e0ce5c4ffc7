/*
 * Lines of a report, out of memory or of a file, packed or not; see dsr.h. A
 * file, and what is packed, is read through one buffer, so that neither its size
 * nor a line's matters.
 */
#include "postgres.h"

#include <sys/stat.h>

#include <openssl/evp.h>

#include "common/string.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "distribution/dsr.h"

#define CHUNK DSR_MAX_LINE

struct DsrSource
{
	FILE	   *file;			/* NULL = all of it is in memory */
	const char *path;
	const char *memory;
	size_t		memory_len;
	size_t		memory_at;		/* what is unpacked next */
	DsrGzip    *gzip;			/* NULL = it isn't packed */
	char	   *buffer;			/* of 2 * CHUNK; NULL = data is in the memory itself */
	const char *data;			/* what is there and not told yet */
	size_t		len;
	int64		bytes;
	int64		lines;
};

static size_t
read_raw(void *arg, char *to, size_t room)
{
	DsrSource  *source = arg;
	size_t		n;

	if (source->file == NULL)
	{
		n = Min(room, source->memory_len - source->memory_at);
		memcpy(to, source->memory + source->memory_at, n);
		source->memory_at += n;
		return n;
	}
	n = fread(to, 1, room, source->file);
	if (ferror(source->file))
		ereport(ERROR, errcode_for_file_access(), errmsg("could not read file \"%s\": %m", source->path));
	return n;
}

/* To the beginning, whatever was read. Nothing is behind a buffer for memory that isn't packed. */
static void
begin(DsrSource *source, bool is_packed)
{
	if (source->gzip != NULL)
		dsr_gzip_end(source->gzip);
	source->gzip = NULL;
	if (source->file != NULL)
		rewind(source->file);
	source->memory_at = 0;
	source->bytes = 0;
	source->len = 0;
	if (is_packed)
		source->gzip = dsr_gzip_begin(read_raw, source);
	if (source->buffer == NULL && (is_packed || source->file != NULL))
		source->buffer = palloc(2 * CHUNK);
	source->data = source->buffer;
	if (source->buffer == NULL)
	{
		source->data = source->memory;
		source->len = source->bytes = source->memory_len;
	}
}

DsrSource *
dsr_open_memory(const char *data, size_t len)
{
	DsrSource  *source = palloc0(sizeof(DsrSource));

	source->memory = data;
	source->memory_len = len;
	begin(source, dsr_is_gzip(data, len));
	return source;
}

DsrSource *
dsr_open_file(const char *path)
{
	DsrSource  *source = palloc0(sizeof(DsrSource));
	struct stat found;
	char		first[2];

	if (!is_absolute_path(path))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("path \"%s\" is not absolute", path),
				errhint("The file is the server's: give its whole path."));
	/* opening anything else could wait forever */
	if (stat(path, &found) != 0)
		ereport(ERROR, errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path));
	if (!S_ISREG(found.st_mode))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a file", path));
	source->path = pstrdup(path);
	source->file = AllocateFile(path, PG_BINARY_R);
	if (source->file == NULL)
		ereport(ERROR, errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path));
	begin(source, dsr_is_gzip(first, read_raw(source, first, sizeof(first))));
	return source;
}

/* Reads on; false at the end. There is room: less than CHUNK is left in the buffer. */
static bool
read_more(DsrSource *source)
{
	size_t		n;

	if (source->buffer == NULL)
		return false;
	memmove(source->buffer, source->data, source->len);
	source->data = source->buffer;
	if (source->gzip != NULL)
		n = dsr_gzip_read(source->gzip, source->buffer + source->len, 2 * CHUNK - source->len);
	else
		n = read_raw(source, source->buffer + source->len, 2 * CHUNK - source->len);
	source->len += n;
	source->bytes += n;
	return n > 0;
}

static inline void
consume(DsrSource *source, size_t n)
{
	source->data += n;
	source->len -= n;
}

/* Passes over the rest of a line that is too long. */
static void
skip_line(DsrSource *source)
{
	do
	{
		const char *end = memchr(source->data, '\n', source->len);

		CHECK_FOR_INTERRUPTS();
		if (end != NULL)
		{
			consume(source, end + 1 - source->data);
			return;
		}
		consume(source, source->len);
	} while (read_more(source));
}

bool
dsr_next_line(DsrSource *source, DsrLine *line)
{
	const char *end;
	size_t		skip = 0;

	while ((end = memchr(source->data, '\n', source->len)) == NULL && source->len <= DSR_MAX_LINE)
		if (!read_more(source))
			break;
	if (source->len == 0)
		return false;
	line->number = ++source->lines;
	line->len = end != NULL ? end - source->data : source->len;
	line->too_long = line->len > DSR_MAX_LINE;
	line->text = source->data;
	if (line->too_long)
	{
		line->len = DSR_KEPT;
		line->text = pnstrdup(source->data, DSR_KEPT);
		if (end == NULL)
			skip_line(source);
		else
			consume(source, end + 1 - source->data);
		return true;
	}
	consume(source, line->len + (end != NULL));
	/* a byte order mark, as some programs begin a file */
	if (line->number == 1 && line->len >= 3 && memcmp(line->text, "\xEF\xBB\xBF", 3) == 0)
		skip = 3;
	line->text += skip;
	line->len -= skip;
	if (line->len > 0 && line->text[line->len - 1] == '\r')
		line->len--;
	return true;
}

const char *
dsr_problem(const DsrSource *source)
{
	return source->gzip != NULL ? dsr_gzip_problem(source->gzip) : NULL;
}

int64
dsr_bytes(const DsrSource *source)
{
	return source->bytes;
}

/* Of the whole: what was told already is read again. */
char *
dsr_sha256(DsrSource *source)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char out[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	bool		ok = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;
	char	   *text;

	PG_TRY();
	{
		begin(source, source->gzip != NULL);
		do
		{
			CHECK_FOR_INTERRUPTS();
			ok = ok && EVP_DigestUpdate(digest, source->data, source->len) == 1;
			consume(source, source->len);
		} while (ok && read_more(source));
		ok = ok && EVP_DigestFinal_ex(digest, out, &n) == 1;
	}
	PG_FINALLY();
	{
		EVP_MD_CTX_free(digest);
	}
	PG_END_TRY();
	if (!ok)
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a digest"));
	text = palloc(2 * n + 1);
	for (unsigned int i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", out[i]);
	return text;
}

void
dsr_close(DsrSource *source)
{
	if (source->gzip != NULL)
		dsr_gzip_end(source->gzip);
	if (source->file != NULL)
		FreeFile(source->file);
	if (source->buffer != NULL)
		pfree(source->buffer);
	pfree(source);
}
