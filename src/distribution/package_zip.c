/*
 * The ZIP of a package, written by libarchive while its parts come.
 *
 * Every part has the same time, owner and mode, so that the same parts make
 * the same bytes. Names are UTF-8 and flagged so: libarchive takes the names'
 * encoding from the locale, which is set for this thread around its calls.
 * Sound and pictures are compressed already and are stored; for what is larger
 * than 4 GB libarchive writes ZIP64.
 *
 * Memory is malloc's, nothing raises, no locks.
 */
#include "postgres.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <unistd.h>

#include "distribution/package.h"

#define BLOCK	(256 * 1024)

struct MvZip
{
	int			fd;
	struct archive *archive;
	struct archive_entry *entry;
	locale_t	locale;
	char		problem[256];
};

static bool
fail(MvZip *zip, const char *what)
{
	if (zip->problem[0] == '\0')
		strlcpy(zip->problem, what != NULL ? what : "unknown error", sizeof(zip->problem));
	return false;
}

/* libarchive's: all of it, or -1 */
static la_ssize_t
write_out(struct archive *archive, void *private, const void *bytes, size_t len)
{
	MvZip	   *zip = private;

	for (size_t done = 0; done < len;)
	{
		ssize_t		n = write(zip->fd, (const char *) bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			archive_set_error(archive, errno, "could not write: %s", n < 0 ? strerror(errno) : "no room");
			return -1;
		}
		done += n;
	}
	return len;
}

MvZip *
mv_zip_begin(int fd)
{
	MvZip	   *zip = calloc(1, sizeof(MvZip));

	if (zip == NULL)
		return NULL;
	zip->fd = fd;
	zip->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t) 0);
	zip->archive = archive_write_new();
	zip->entry = archive_entry_new();
	if (zip->archive == NULL || zip->entry == NULL)
	{
		mv_zip_free(zip);
		return NULL;
	}
	if (zip->locale == (locale_t) 0)
	{
		fail(zip, "the locale C.UTF-8 is missing");
		return zip;
	}
	if (archive_write_set_format_zip(zip->archive) != ARCHIVE_OK ||
		archive_write_set_bytes_per_block(zip->archive, BLOCK) != ARCHIVE_OK ||
		archive_write_set_bytes_in_last_block(zip->archive, 1) != ARCHIVE_OK ||
		archive_write_open(zip->archive, zip, NULL, write_out, NULL) != ARCHIVE_OK)
		fail(zip, archive_error_string(zip->archive));
	return zip;
}

/* Begins a part; what is written of it afterwards has to be of this size. */
static bool
begin_part(MvZip *zip, const char *name, int64 size, bool compressed)
{
	int			result;

	if (zip->problem[0] != '\0')
		return false;
	archive_entry_clear(zip->entry);
	archive_entry_set_pathname(zip->entry, name);
	archive_entry_set_filetype(zip->entry, AE_IFREG);
	archive_entry_set_perm(zip->entry, 0644);
	archive_entry_set_size(zip->entry, size);
	result = compressed ? archive_write_zip_set_compression_deflate(zip->archive) : archive_write_zip_set_compression_store(zip->archive);
	if (result == ARCHIVE_OK)
		result = archive_write_header(zip->archive, zip->entry);
	return result == ARCHIVE_OK || fail(zip, archive_error_string(zip->archive));
}

static bool
write_data(MvZip *zip, const void *bytes, size_t len)
{
	la_ssize_t	n = archive_write_data(zip->archive, bytes, len);

	return n == (la_ssize_t) len || fail(zip, n < 0 ? archive_error_string(zip->archive) : "a part is longer than it was said to be");
}

bool
mv_zip_part(MvZip *zip, const char *name, int64 size)
{
	locale_t	before = uselocale(zip->locale);
	bool		ok = begin_part(zip, name, size, false);

	uselocale(before);
	return ok;
}

bool
mv_zip_write(MvZip *zip, const void *bytes, size_t len)
{
	return write_data(zip, bytes, len);
}

bool
mv_zip_bytes(MvZip *zip, const char *name, const void *bytes, size_t len)
{
	locale_t	before = uselocale(zip->locale);
	bool		ok = begin_part(zip, name, len, true) && (len == 0 || write_data(zip, bytes, len));

	uselocale(before);
	return ok;
}

bool
mv_zip_end(MvZip *zip)
{
	locale_t	before = uselocale(zip->locale);
	bool		ok = zip->problem[0] == '\0';

	if (ok && archive_write_close(zip->archive) != ARCHIVE_OK)
		ok = fail(zip, archive_error_string(zip->archive));
	uselocale(before);
	return ok;
}

const char *
mv_zip_problem(const MvZip *zip)
{
	return zip->problem;
}

void
mv_zip_free(MvZip *zip)
{
	if (zip->archive != NULL)
		archive_write_free(zip->archive);
	if (zip->entry != NULL)
		archive_entry_free(zip->entry);
	if (zip->locale != (locale_t) 0)
		freelocale(zip->locale);
	free(zip);
}
