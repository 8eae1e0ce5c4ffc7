/*
 * The master keys of one file; see master_keys.h.
 *
 * The file musicverse.master_key_file holds one key a line, "<id> <32 bytes in
 * base64>"; lines with # are comments. The last key seals, all of them open,
 * so a new key is added at the end and the old ones stay until nothing is
 * sealed under them. A dump doesn't contain the file; a base backup does when
 * it lies in the data directory (a promoted standby must open the secrets):
 * configure a path elsewhere to keep the two apart.
 *
 * Promises: the file is always whole. It is replaced by a rename of a flushed
 * copy, so a crash leaves the old or the new one, and readers need no lock. Who
 * creates it or adds a key holds an flock on "<file>.lock", so processes that
 * create it at the same time end up with the same key; that is the only lock
 * and it is held for milliseconds. A process caches the keys; it notices a
 * changed file before it seals and when it meets an id it doesn't know. A file
 * that vanished under a process that knows its keys is never made anew. Key
 * material is wiped from memory where it is dropped.
 */
#include "postgres.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/base64.h"
#include "core/master_keys.h"

#define KEY_FILE_MAX (64 * 1024)
#define LOCK_TIMEOUT_MS 10000

/* What one reading of the file gave; in TopMemoryContext */
typedef struct KeySet
{
	char	   *setting;		/* the value of the setting it was read for */
	struct stat st;				/* tells whether the file changed since */
	int			nkeys;			/* at least one */
	MvMasterKey	keys[FLEXIBLE_ARRAY_MEMBER];
} KeySet;

static char *master_key_file;
static KeySet *cached;

static bool check_master_key_file(char **newval, void **extra, GucSource source);
static bool reload(MvProblem *problem);
static bool cache_is_fresh(void);
static bool write_key(bool append, uint32 *id, MvProblem *problem);
static KeySet *read_key_file(const char *path, char **content, MvProblem *problem);
static KeySet *parse_keys(const char *path, const char *content, MvProblem *problem);
static bool parse_line(const char *line, const char *end, MvMasterKey *key);
static bool replace_file(const char *path, const char *content, size_t len, MvProblem *problem);
static int	lock_key_file(const char *path, MvProblem *problem);
static char *key_file_path(void);
static void forget(KeySet *set);

void
mv_master_keys_init(void)
{
	DefineCustomStringVariable("musicverse.master_key_file",
							   "The file with the keys that secrets are sealed under.",
							   "A relative path counts from the data directory. The file is created when it is missing; "
							   "without it sealed secrets cannot be opened.",
							   &master_key_file,
							   "musicverse.key",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   check_master_key_file, NULL, NULL);
}

/* The lock file and the temporary one have longer names. */
static bool
check_master_key_file(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0')
	{
		GUC_check_errdetail("A path is needed, as in \"musicverse.key\".");
		return false;
	}
	if (strlen(*newval) + strlen(DataDir ? DataDir : "") + 8 >= MAXPGPATH)
	{
		GUC_check_errdetail("The path is too long.");
		return false;
	}
	return true;
}

/*
 * The key that seals, from a cache that is compared with the file first; makes
 * the file when there is none. The result is valid until the next look-up.
 */
const MvMasterKey *
mv_master_key_current(MvProblem *problem)
{
	if (!cache_is_fresh() && !reload(problem))
	{
		if (!problem->no_file)
			return NULL;
		if (!write_key(false, NULL, problem) || !reload(problem))
			return NULL;
	}
	return &cached->keys[cached->nkeys - 1];
}

/* The key with this id; reads the file again when the cache lacks it. */
const MvMasterKey *
mv_master_key_find(uint32 id, MvProblem *problem)
{
	for (int round = 0; round < 2; round++)
	{
		if (cached != NULL && (round > 0 || strcmp(cached->setting, master_key_file) == 0))
		{
			for (int i = 0; i < cached->nkeys; i++)
			{
				if (cached->keys[i].id == id)
					return &cached->keys[i];
			}
		}
		if (round == 0 && !reload(problem))
			return NULL;
	}
	mv_problem_set(problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   psprintf("master key %u is not in the key file \"%s\"", id, key_file_path()),
				   "Bring the key along: copy its line from the key file of the server where the secret was sealed "
				   "to above the last line of this one.");
	return NULL;
}

bool
mv_master_key_add(uint32 *id, MvProblem *problem)
{
	return write_key(true, id, problem) && reload(problem);
}

/* Reads the file into the cache; the old content stays on failure. */
static bool
reload(MvProblem *problem)
{
	KeySet	   *set = read_key_file(key_file_path(), NULL, problem);

	if (set == NULL)
	{
		/* a new file would lock away what is sealed under the keys we know */
		if (problem->no_file && cached != NULL && strcmp(cached->setting, master_key_file) == 0)
		{
			problem->no_file = false;
			problem->hint = "It existed when this process read it. Restore it from a copy.";
		}
		return false;
	}
	forget(cached);
	cached = set;
	return true;
}

static bool
cache_is_fresh(void)
{
	struct stat st;

	return cached != NULL &&
		strcmp(cached->setting, master_key_file) == 0 &&
		stat(key_file_path(), &st) == 0 &&
		st.st_dev == cached->st.st_dev && st.st_ino == cached->st.st_ino &&
		st.st_size == cached->st.st_size && st.st_mode == cached->st.st_mode &&
		st.st_mtim.tv_sec == cached->st.st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == cached->st.st_mtim.tv_nsec &&
		st.st_ctim.tv_sec == cached->st.st_ctim.tv_sec &&
		st.st_ctim.tv_nsec == cached->st.st_ctim.tv_nsec;
}

/*
 * Creates the file, or appends a key to it. Without append, a file that another
 * process has made meanwhile is left as it is.
 */
static bool
write_key(bool append, uint32 *id, MvProblem *problem)
{
	static const char head[] =
		"# Master keys of musicverse, one a line: id, 32 bytes in base64. The last one\n"
		"# seals, all of them open. Keep a copy of this file away from the server:\n"
		"# without it sealed secrets are lost.\n";
	char	   *path = key_file_path();
	char		target[PATH_MAX];
	char	   *old = NULL;
	char	   *content;
	size_t		old_len;
	size_t		len;
	KeySet	   *set;
	MvMasterKey	key;
	bool		ok;
	int			lock;

	mv_random_bytes(key.key, MV_MASTER_KEY_LEN);
	lock = lock_key_file(path, problem);
	if (lock < 0)
		return false;

	set = read_key_file(path, &old, problem);
	if (set == NULL ? !problem->no_file : !append)
	{
		/* no key to write: the file is bad, or there already */
		ok = set != NULL;
		goto done;
	}
	if (set == NULL && cached != NULL && strcmp(cached->setting, master_key_file) == 0)
	{
		problem->hint = "It existed when this process read it. Restore it from a copy.";
		ok = false;
		goto done;
	}

	for (bool used = true; used;)
	{
		if (!pg_strong_random(&key.id, sizeof(key.id)))
		{
			mv_problem_set(problem, ERRCODE_INTERNAL_ERROR, "could not generate random bytes", NULL);
			ok = false;
			goto done;
		}
		key.id &= 0x7fffffff;
		used = key.id == 0;
		for (int i = 0; set != NULL && i < set->nkeys; i++)
			used |= set->keys[i].id == key.id;
	}

	if (old == NULL)
		old = pstrdup(head);
	old_len = strlen(old);
	content = palloc(old_len + 64 + MV_BASE64_LEN(MV_MASTER_KEY_LEN));
	memcpy(content, old, old_len);
	len = old_len;
	if (len > 0 && content[len - 1] != '\n')
		content[len++] = '\n';
	len += sprintf(content + len, "%u ", key.id);
	len += mv_base64_encode(key.key, MV_MASTER_KEY_LEN, content + len);
	content[len++] = '\n';

	/* a symbolic link stays one */
	ok = replace_file(realpath(path, target) ? target : path, content, len, problem);
	explicit_bzero(content, len);
	pfree(content);
	if (ok && id != NULL)
		*id = key.id;

done:
	close(lock);
	explicit_bzero(&key, sizeof(key));
	if (old != NULL)
	{
		explicit_bzero(old, strlen(old));
		pfree(old);
	}
	forget(set);
	return ok;
}

/*
 * Reads and checks the file; NULL with the problem filled in when it can't be
 * used. Also hands out its text (palloc'd, to be wiped) when content is given.
 */
static KeySet *
read_key_file(const char *path, char **content, MvProblem *problem)
{
	KeySet	   *set = NULL;
	char	   *buffer;
	size_t		len = 0;
	ssize_t		n;
	struct stat st;
	int			fd;

	buffer = palloc(KEY_FILE_MAX + 1);
	mv_problem_set(problem, 0, NULL, NULL);

	/* not blocking, should the path lead to a pipe */
	fd = BasicOpenFile(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
	{
		int			save_errno = errno;

		pfree(buffer);
		errno = save_errno;
		mv_problem_set(problem, save_errno == ENOENT ? ERRCODE_UNDEFINED_FILE : ERRCODE_CONFIG_FILE_ERROR,
					   psprintf("could not open master key file \"%s\": %m", path),
					   save_errno == ENOENT ?
					   "Bring the file along from the server where the secrets were sealed." :
					   "Let the server's user read it, or change musicverse.master_key_file.");
		problem->no_file = save_errno == ENOENT;
		return NULL;
	}

	if (fstat(fd, &st) != 0)
		mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
					   psprintf("could not stat master key file \"%s\": %m", path), NULL);
	else if (!S_ISREG(st.st_mode))
		mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
					   psprintf("master key file \"%s\" is not a regular file", path),
					   "Let musicverse.master_key_file name a file.");
	else if (st.st_mode & (S_IRWXG | S_IRWXO))
		mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
					   psprintf("master key file \"%s\" is open to other users (mode %04o)", path,
								(unsigned int) (st.st_mode & 07777)),
					   "Set its mode with chmod 0600.");
	else
	{
		while ((n = read(fd, buffer + len, KEY_FILE_MAX + 1 - len)) > 0 || (n < 0 && errno == EINTR))
			len += n > 0 ? n : 0;
		if (n < 0)
			mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
						   psprintf("could not read master key file \"%s\": %m", path), NULL);
		else if (len > KEY_FILE_MAX || memchr(buffer, '\0', len) != NULL)
			mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
						   psprintf("master key file \"%s\" is no key file", path),
						   "A key file has lines of an id and 32 bytes in base64.");
		else
		{
			buffer[len] = '\0';
			set = parse_keys(path, buffer, problem);
		}
	}
	close(fd);

	if (set != NULL)
		set->st = st;
	if (set != NULL && content != NULL)
		*content = buffer;
	else
	{
		explicit_bzero(buffer, len);
		pfree(buffer);
	}
	return set;
}

static KeySet *
parse_keys(const char *path, const char *content, MvProblem *problem)
{
	KeySet	   *set;
	int			nlines = 1;
	int			line_number = 0;
	const char *next;

	for (const char *c = content; *c; c++)
		nlines += *c == '\n';
	set = MemoryContextAllocZero(TopMemoryContext, offsetof(KeySet, keys) + nlines * sizeof(MvMasterKey));
	set->setting = MemoryContextStrdup(TopMemoryContext, master_key_file);

	for (const char *line = content; line != NULL; line = next)
	{
		const char *end = strchr(line, '\n');
		MvMasterKey  *key = &set->keys[set->nkeys];
		const char *fault = NULL;

		next = end ? end + 1 : NULL;
		if (end == NULL)
			end = line + strlen(line);
		line_number++;
		while (line < end && isspace((unsigned char) *line))
			line++;
		while (line < end && isspace((unsigned char) end[-1]))
			end--;
		if (line == end || *line == '#')
			continue;

		if (!parse_line(line, end, key))
			fault = "an id and 32 bytes in base64 expected";
		for (int i = 0; fault == NULL && i < set->nkeys; i++)
		{
			if (set->keys[i].id == key->id)
				fault = "its id is on an earlier line too";
		}
		if (fault != NULL)
		{
			mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
						   psprintf("master key file \"%s\" has a bad line %d: %s", path, line_number, fault),
						   "Correct the line, or restore the file from a copy.");
			set->nkeys++;		/* wipe this one too */
			forget(set);
			return NULL;
		}
		set->nkeys++;
	}

	if (set->nkeys == 0)
	{
		mv_problem_set(problem, ERRCODE_CONFIG_FILE_ERROR,
					   psprintf("master key file \"%s\" holds no key", path),
					   "Restore it from a copy; where no secret was sealed yet, remove it and it is made anew.");
		forget(set);
		return NULL;
	}
	return set;
}

static bool
parse_line(const char *line, const char *end, MvMasterKey *key)
{
	uint64		id = 0;

	for (; line < end && *line >= '0' && *line <= '9'; line++)
	{
		id = id * 10 + (*line - '0');
		if (id > PG_INT32_MAX)
			return false;
	}
	if (id == 0 || line == end || !isspace((unsigned char) *line))
		return false;
	while (isspace((unsigned char) *line))
		line++;
	key->id = (uint32) id;
	return mv_base64_decode(line, end - line, key->key, MV_MASTER_KEY_LEN, false) == MV_MASTER_KEY_LEN;
}

/* Writes the file anew, mode 0600, so that a crash leaves it whole. */
static bool
replace_file(const char *path, const char *content, size_t len, MvProblem *problem)
{
	char	   *temporary = psprintf("%s.tmp", path);
	const char *hint = "Let the server's user write into its directory, or change musicverse.master_key_file.";
	ssize_t		written = 0;
	int			fd;

	/* what a crashed process left; we hold the lock, so nobody is at it */
	if (unlink(temporary) != 0 && errno != ENOENT)
	{
		mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not remove file \"%s\": %m", temporary), hint);
		return false;
	}

	fd = BasicOpenFilePerm(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | PG_BINARY, S_IRUSR | S_IWUSR);
	if (fd < 0)
	{
		mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not create file \"%s\": %m", temporary), hint);
		return false;
	}

	errno = 0;
	for (size_t done = 0; done < len; done += written)
	{
		written = write(fd, content + done, len - done);
		if (written < 0 && errno == EINTR)
			written = 0;
		else if (written <= 0)
			break;
	}
	if (written <= 0 || pg_fsync(fd) != 0)
	{
		if (errno == 0)
			errno = ENOSPC;
		mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not write file \"%s\": %m", temporary), NULL);
		close(fd);
		unlink(temporary);
		return false;
	}
	close(fd);

	if (durable_rename(temporary, path, LOG) != 0)
	{
		mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not replace file \"%s\": %m", path), hint);
		unlink(temporary);
		return false;
	}
	return true;
}

/*
 * Opens and locks "<path>.lock"; the lock goes with the descriptor. Waits in
 * short steps, so that a cancelled statement stops.
 */
static int
lock_key_file(const char *path, MvProblem *problem)
{
	char	   *name = psprintf("%s.lock", path);
	TimestampTz start = GetCurrentTimestamp();

	for (;;)
	{
		int			fd = BasicOpenFilePerm(name, O_RDWR | O_CREAT | O_CLOEXEC | PG_BINARY, S_IRUSR | S_IWUSR);

		if (fd < 0)
		{
			mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not create file \"%s\": %m", name),
						   "Let the server's user write into its directory, or change musicverse.master_key_file.");
			return -1;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK && errno != EINTR)
		{
			mv_problem_set(problem, ERRCODE_IO_ERROR, psprintf("could not lock file \"%s\": %m", name), NULL);
			close(fd);
			return -1;
		}
		close(fd);

		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LOCK_TIMEOUT_MS))
		{
			mv_problem_set(problem, ERRCODE_LOCK_NOT_AVAILABLE,
						   psprintf("another process keeps file \"%s\" locked", name),
						   "Find the process that holds it and let it end, then try again.");
			return -1;
		}
		CHECK_FOR_INTERRUPTS();
		pg_usleep(5000);
	}
}

static char *
key_file_path(void)
{
	if (is_absolute_path(master_key_file))
		return pstrdup(master_key_file);
	return psprintf("%s/%s", DataDir, master_key_file);
}

static void
forget(KeySet *set)
{
	if (set == NULL)
		return;
	explicit_bzero(set->keys, set->nkeys * sizeof(MvMasterKey));
	pfree(set->setting);
	pfree(set);
}

void
mv_problem_set(MvProblem *problem, int sqlstate, const char *message, const char *hint)
{
	problem->sqlstate = sqlstate;
	problem->message = message;
	problem->hint = hint;
	problem->no_file = false;
}

void
mv_problem_report(const MvProblem *problem)
{
	ereport(ERROR,
			errcode(problem->sqlstate),
			errmsg_internal("%s", problem->message),
			problem->hint ? errhint("%s", problem->hint) : 0);
}

void
mv_random_bytes(void *out, size_t len)
{
	if (!pg_strong_random(out, len))
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random bytes"));
}
