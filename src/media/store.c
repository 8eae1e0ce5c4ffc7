/*
 * The directory of media files. A file is written under a temporary name,
 * flushed, and renamed, before its row is committed: a row never names a file
 * that was cut off, and a file without a row is garbage, which the worker
 * removes when it starts.
 *
 * Below musicverse.media_directory each database has a directory of its own,
 * named after the cluster and the database, so that clusters can share one.
 *
 * No locks: only the one worker of the database writes here.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "fmgr.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define PREFIX	UINT64_FORMAT "-"

PG_FUNCTION_INFO_V1(musicverse_media_file);
PG_FUNCTION_INFO_V1(musicverse_read_media_file);

/* ---- names ---- */

static char *
root_directory(void)
{
	const char *setting = GetConfigOption("musicverse.media_directory", false, false);

	if (is_absolute_path(setting))
		return pstrdup(setting);
	return psprintf("%s/%s", DataDir, setting);
}

static char *
database_directory(void)
{
	return psprintf("%s/" PREFIX "%u", root_directory(), GetSystemIdentifier(), MyDatabaseId);
}

/* Only names that the worker gives: no way leads out of the directory. */
static bool
is_name(const char *name)
{
	return strlen(name) <= MV_MEDIA_NAME && name[0] != '.' && strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz-.") == strlen(name);
}

static void
make_directory(const char *path)
{
	if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", path),
				 errhint("musicverse.media_directory must be writable for the server's user, or its parent.")));
}

/* The directory of this database's files, which is made if need be. Raises when it can't be. */
static char *
made_directory(void)
{
	char	   *path = database_directory();

	if (access(path, W_OK | X_OK) == 0)
		return path;
	make_directory(root_directory());
	make_directory(path);
	return path;
}

/* ---- the files of a task ---- */

int
mv_media_keep(MvMediaTask *task, int fd)
{
	if (task->files->nfds == lengthof(task->files->fds))
	{
		close(fd);
		elog(ERROR, "a piece of work of kind \"%s\" opens too many files", task->kind);
	}
	task->files->fds[task->files->nfds++] = fd;
	return fd;
}

void
mv_media_drop(MvMediaTask *task, int fd)
{
	MvMediaFiles *files = task->files;

	for (int i = 0; i < files->nfds; i++)
	{
		if (files->fds[i] != fd)
			continue;
		close(fd);
		files->fds[i] = files->fds[--files->nfds];
		return;
	}
}

static int
create(const char *path)
{
	int			fd = BasicOpenFile(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | PG_BINARY);

	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create file \"%s\": %m", path)));
	return fd;
}

int
mv_media_scratch(MvMediaTask *task)
{
	char	   *path = psprintf("%s/%s.scratch", made_directory(), task->id);
	int			fd = create(path);

	unlink(path);
	return mv_media_keep(task, fd);
}

int
mv_media_output(MvMediaTask *task)
{
	MvMediaFiles *files = task->files;

	if (files->output < 0)
	{
		files->output_path = psprintf("%s/%s.part", made_directory(), task->id);
		files->output = mv_media_keep(task, create(files->output_path));
	}
	return files->output;
}

void
mv_media_write(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0)
	{
		ssize_t		written = write(fd, at, Min(len, 1024 * 1024));

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			if (written == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write a file in musicverse.media_directory: %m"),
					 errhint("Make room there, or set musicverse.media_max_size or musicverse.media_retention lower.")));
		}
		at += written;
		len -= written;
	}
}

void
mv_media_close(MvMediaTask *task)
{
	MvMediaFiles *files = task->files;

	while (files->nfds > 0)
		close(files->fds[--files->nfds]);
	if (files->output_path != NULL)
		unlink(files->output_path);
	files->output = -1;
	files->output_path = NULL;
}

void
mv_media_check_size(const char *what, int64 bytes)
{
	int64		most = mv_media_max_size_mb * INT64CONST(1024 * 1024);

	if (most > 0 && bytes > most)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s has " INT64_FORMAT " bytes, more than musicverse.media_max_size", what, bytes)));
}

char *
mv_media_publish(MvMediaTask *task, MvMediaResult *result)
{
	MvMediaFiles *files = task->files;
	char	   *name;

	if (files->output < 0)
		return NULL;
	if (result->extension == NULL || result->media_type == NULL)
		elog(ERROR, "a file of kind \"%s\" has no type", task->kind);
	name = psprintf("%s.%s", task->id, result->extension);
	if (!is_name(name))
		elog(ERROR, "a file of kind \"%s\" cannot be named \"%s\"", task->kind, name);
	mv_media_digest(files->output, &result->bytes, &result->sha256, &result->md5);
	mv_media_check_size("the file", result->bytes);
	durable_rename(files->output_path, psprintf("%s/%s", made_directory(), name), ERROR);
	files->output_path = NULL;
	return name;
}

/* ---- removing ---- */

void
mv_media_remove(const char *name)
{
	char	   *path = psprintf("%s/%s", database_directory(), name);

	if (is_name(name) && unlink(path) != 0 && errno != ENOENT)
		ereport(LOG, (errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", path)));
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static bool
is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int
mv_media_sweep(char **names, int n)
{
	char	   *path = made_directory();
	DIR		   *directory = opendir(path);
	struct dirent *entry;
	int			removed = 0;

	if (directory == NULL)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open directory \"%s\": %m", path)));
	while ((entry = readdir(directory)) != NULL)
	{
		char	   *name = entry->d_name;

		if (is_dots(name) || !is_name(name) || bsearch(&name, names, n, sizeof(char *), compare_names) != NULL)
			continue;
		mv_media_remove(name);
		removed++;
	}
	closedir(directory);
	return removed;
}

/* It is not in use any more: the worker of that database is gone. */
static void
remove_directory(const char *path)
{
	DIR		   *directory = opendir(path);
	struct dirent *entry;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
		if (!is_dots(entry->d_name))
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	if (rmdir(path) != 0)
		ereport(LOG, (errcode_for_file_access(), errmsg("could not remove directory \"%s\": %m", path)));
}

void
mv_media_sweep_databases(const Oid *databases, int n)
{
	char	   *root = root_directory();
	char	   *prefix = psprintf(PREFIX, GetSystemIdentifier());
	DIR		   *directory = opendir(root);
	struct dirent *entry;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
	{
		unsigned long oid;
		char	   *end;
		bool		exists = false;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		oid = strtoul(entry->d_name + strlen(prefix), &end, 10);
		for (int i = 0; i < n; i++)
			exists |= databases[i] == (Oid) oid;
		if (!exists && *end == '\0')
			remove_directory(psprintf("%s/%s", root, entry->d_name));
	}
	closedir(directory);
}

/* ---- for SQL ---- */

/* The path of a file by its name in media.file_name, if there is one of that size; else NULL. */
static char *
existing(FunctionCallInfo fcinfo)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *path = psprintf("%s/%s", database_directory(), name);
	struct stat st;

	if (!is_name(name) || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != PG_GETARG_INT64(1))
		return NULL;
	return path;
}

int
mv_media_open(const char *file_name, int64 bytes)
{
	struct stat st;
	int			fd;

	if (!is_name(file_name))
		return -1;
	fd = open(psprintf("%s/%s", database_directory(), file_name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != bytes))
	{
		close(fd);
		fd = -1;
	}
	return fd;
}

/* _media_file(file_name, bytes) */
Datum
musicverse_media_file(PG_FUNCTION_ARGS)
{
	char	   *path = existing(fcinfo);

	if (path == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(path));
}

/* _read_media_file(file_name, bytes) */
Datum
musicverse_read_media_file(PG_FUNCTION_ARGS)
{
	char	   *path = existing(fcinfo);
	int64		bytes = PG_GETARG_INT64(1);
	bytea	   *result;
	int			fd;

	if (path == NULL)
		PG_RETURN_NULL();
	if (bytes > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the file has " INT64_FORMAT " bytes, too many for one value", bytes)));
	result = palloc(VARHDRSZ + bytes);
	SET_VARSIZE(result, VARHDRSZ + bytes);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0 || pg_pread(fd, VARDATA(result), bytes, 0) != bytes)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);
	PG_RETURN_BYTEA_P(result);
}
