/*
 * SFTP servers as targets: who we are to them, which host keys are theirs, and
 * commands. libcurl speaks SFTP by libssh2, in the same loop as HTTP.
 *
 * libssh2 takes keys from files only. The private key is in a memory file that
 * has no name anywhere, and is read through /proc/self/fd: it never gets onto a
 * disk and goes away with the process.
 *
 * libcurl takes connections of the same user and password to the same host for
 * interchangeable, whatever key they were opened with and whatever host keys
 * were pinned. So each target names itself in an option that only mail uses,
 * but that is compared: nobody gets a connection that another target opened.
 *
 * Where libcurl waits for an SFTP server instead of going on with others: when
 * a file that was sent is closed (one round trip), and up to a second when a
 * connection is closed that the server doesn't answer on. The first is bounded
 * by progress(), the second avoided by mv_sftp_cut() where we are the ones who
 * close. Commands run before anything else of their exchange, where libcurl
 * doesn't wait.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/sftp.h"
#include "core/transfer_int.h"
#include "storage/fd.h"

#define MAX_HOST_KEYS	8
#define FINGERPRINT_LEN 43		/* of SHA-256 in base64 without padding */

/* Longest that one call of libcurl may wait for a server */
#define MAX_WAIT_US		(5 * INT64CONST(1000000))

struct MvSftp
{
	char	   *user;
	char	   *password;
	char	   *passphrase;
	int			key_fd;			/* -1 = none */
	char		key_path[40];
	char		name[40];		/* like no other target's */
	char		host_key[MAX_HOST_KEYS][FINGERPRINT_LEN + 1];
	int			host_keys;
};

/* Reads fingerprints; false when one is malformed. */
static bool
take_host_keys(MvSftp *sftp, const char *text)
{
	static const char separators[] = " ,\t\r\n";

	for (text += strspn(text, separators); *text; text += strspn(text, separators))
	{
		size_t		len = strcspn(text, separators);
		const char *print = text;
		size_t		print_len;

		text += len;
		if (len > 7 && pg_strncasecmp(print, "SHA256:", 7) == 0)
		{
			print += 7;
			len -= 7;
		}
		print_len = len > 0 && print[len - 1] == '=' ? len - 1 : len;
		if (print_len != FINGERPRINT_LEN || sftp->host_keys == MAX_HOST_KEYS)
			return false;
		memcpy(sftp->host_key[sftp->host_keys], print, print_len);
		sftp->host_key[sftp->host_keys++][print_len] = '\0';
	}
	return sftp->host_keys > 0;
}

/* Puts the key where libssh2 can read it. */
static bool
keep_key(MvSftp *sftp, const char *key)
{
	size_t		len = strlen(key);
	size_t		at = 0;

	sftp->key_fd = memfd_create("musicverse key", MFD_CLOEXEC);
	if (sftp->key_fd < 0)
		return false;
	ReserveExternalFD();
	/* readers of OpenSSH's form want a line end behind the last line */
	while (at < len)
	{
		ssize_t		n = write(sftp->key_fd, key + at, len - at);

		if (n <= 0)
			return false;
		at += n;
	}
	if (key[len - 1] != '\n' && write(sftp->key_fd, "\n", 1) != 1)
		return false;
	snprintf(sftp->key_path, sizeof(sftp->key_path), "/proc/self/fd/%d", sftp->key_fd);
	return true;
}

static bool
keep(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

/* NULL when the URL names a server and nothing else. */
static const char *
url_problem(const char *url)
{
	CURLU	   *parts = curl_url();
	char	   *path = NULL;
	const char *why = NULL;

	if (parts == NULL || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
		curl_url_get(parts, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		why = "out of memory";
	else if (strcmp(path, "/") != 0 || strpbrk(url, "?#") != NULL)
		why = "the URL of an SFTP server has a path";
	curl_free(path);
	curl_url_cleanup(parts);
	return why;
}

MvSftp *
mv_sftp_create(const MvTargetOptions *options, const char **why)
{
	static uint64 serial = 0;
	MvSftp	   *sftp;

	if ((*why = url_problem(options->url)) != NULL)
		return NULL;
	if (options->user == NULL || options->user[0] == '\0')
		*why = "an SFTP server needs a user";
	else if ((options->password == NULL) == (options->private_key == NULL))
		*why = "an SFTP server needs either a password or a private key";
	else if (options->private_key && options->private_key[0] == '\0')
		*why = "the private key is empty";
	else if (options->host_keys == NULL)
		*why = "an SFTP server needs the fingerprints of its host keys";
	if (*why != NULL)
		return NULL;

	*why = "out of memory";
	sftp = calloc(1, sizeof(MvSftp));
	if (sftp == NULL)
		return NULL;
	sftp->key_fd = -1;
	if (!take_host_keys(sftp, options->host_keys))
		*why = "a fingerprint of a host key is not \"SHA256:\" and 43 characters, or there are more than 8 of them";
	else if (options->private_key && !keep_key(sftp, options->private_key))
		*why = "the private key could not be put into a memory file";
	else if (keep(&sftp->user, options->user) && keep(&sftp->password, options->password) &&
			 keep(&sftp->passphrase, options->key_passphrase))
		*why = NULL;
	if (*why != NULL)
	{
		mv_sftp_free(sftp);
		return NULL;
	}
	snprintf(sftp->name, sizeof(sftp->name), "connection owner " UINT64_FORMAT, ++serial);
	return sftp;
}

static void
wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void
mv_sftp_free(MvSftp *sftp)
{
	if (sftp->key_fd >= 0)
	{
		close(sftp->key_fd);
		ReleaseExternalFD();
	}
	wipe(sftp->password);
	wipe(sftp->passphrase);
	free(sftp->user);
	free(sftp);
}

/* Is the key that the server has shown, and proved to have, one of those pinned? */
static int
check_host_key(void *data, int type, const char *key, size_t len)
{
	MvHandle   *handle = data;
	MvSftp	   *sftp = mv_target_sftp(handle->target);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned char print[EVP_MAX_MD_SIZE * 2];
	unsigned int digest_len = 0;

	if (key == NULL || EVP_Digest(key, len, digest, &digest_len, EVP_sha256(), NULL) != 1 || digest_len != 32)
		return CURLKHMATCH_MISMATCH;
	EVP_EncodeBlock(print, digest, (int) digest_len);
	print[FINGERPRINT_LEN] = '\0';
	for (int i = 0; i < sftp->host_keys; i++)
		if (strcmp(sftp->host_key[i], (char *) print) == 0)
			return CURLKHMATCH_OK;
	snprintf(handle->host_key, sizeof(handle->host_key), "SHA256:%s", print);
	return CURLKHMATCH_MISMATCH;
}

/* libcurl asks this also while it waits for a server. */
static int
progress(void *data, curl_off_t unused1, curl_off_t unused2, curl_off_t unused3, curl_off_t unused4)
{
	MvHandle   *handle = data;

	return handle->sockets && mv_monotonic_us() - handle->sockets->acting_since > MAX_WAIT_US;
}

CURLcode
mv_sftp_set_options(MvHandle *handle, MvSftp *sftp)
{
	CURL	   *easy = handle->easy;
	CURLcode	code = CURLE_OK;

#define SET(option, value) \
	do { \
		if (code == CURLE_OK) \
			code = curl_easy_setopt(easy, option, value); \
	} while (0)

	SET(CURLOPT_USERNAME, sftp->user);
	if (sftp->key_fd >= 0)
	{
		SET(CURLOPT_SSH_AUTH_TYPES, (long) CURLSSH_AUTH_PUBLICKEY);
		SET(CURLOPT_SSH_PRIVATE_KEYFILE, sftp->key_path);
		SET(CURLOPT_KEYPASSWD, sftp->passphrase ? sftp->passphrase : "");
	}
	else
	{
		SET(CURLOPT_SSH_AUTH_TYPES, (long) (CURLSSH_AUTH_PASSWORD | CURLSSH_AUTH_KEYBOARD));
		SET(CURLOPT_PASSWORD, sftp->password);
	}
	SET(CURLOPT_SASL_AUTHZID, sftp->name);
	SET(CURLOPT_SSH_HOSTKEYFUNCTION, check_host_key);
	SET(CURLOPT_SSH_HOSTKEYDATA, handle);
	SET(CURLOPT_XFERINFOFUNCTION, progress);
	SET(CURLOPT_XFERINFODATA, handle);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_NEW_FILE_PERMS, 0644L);
#undef SET
	return code;
}

void
mv_sftp_cut(const MvTransfer *transfer)
{
	if (mv_target_sftp(transfer->target) && transfer->handle->socket >= 0)
		shutdown(transfer->handle->socket, SHUT_RDWR);
}

/* ---- paths and commands ---- */

const char *
mv_sftp_path_problem(const char *path)
{
	if (path == NULL || path[0] == '\0')
		return "the path is empty";
	if (strlen(path) > 4000)
		return "the path is longer than 4000 bytes";
	for (const char *p = path; *p; p++)
		if ((unsigned char) *p < ' ' || *p == 127)
			return "the path has a control character";
	return NULL;
}

CURLcode
mv_sftp_set_path(CURL *easy, const MvTarget *target, const char *path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~/";
	const char *base = mv_target_url(target);
	size_t		base_len = strlen(base);
	char	   *url;
	char	   *to;
	CURLcode	code;

	if (path == NULL)
		path = "/";
	if (base_len > 0 && base[base_len - 1] == '/')
		base_len--;
	url = malloc(base_len + 4 + strlen(path) * 3);
	if (url == NULL)
		return CURLE_OUT_OF_MEMORY;
	memcpy(url, base, base_len);
	to = url + base_len;
	if (path[0] != '/')
	{
		memcpy(to, "/~/", 3);
		to += 3;
	}
	/* points too: "/../" would be taken away before the server sees it */
	for (; *path; path++)
	{
		if (strchr(plain, *path))
			*to++ = *path;
		else
			to += sprintf(to, "%%%02X", (unsigned char) *path);
	}
	*to = '\0';
	code = curl_easy_setopt(easy, CURLOPT_URL, url);
	free(url);
	return code;
}

/* A path in libcurl's quotes */
static char *
quote(char *to, const char *path)
{
	*to++ = '"';
	for (; *path; path++)
	{
		if (*path == '"' || *path == '\'' || *path == '\\')
			*to++ = '\\';
		*to++ = *path;
	}
	*to++ = '"';
	*to = '\0';
	return to;
}

struct curl_slist *
mv_sftp_command(struct curl_slist *list, MvSftpVerb verb, bool may_fail,
				const char *path, const char *to, const char **why)
{
	static const char *const names[] = {"rm", "rename", "mkdir", "rmdir"};
	struct curl_slist *longer = NULL;
	char	   *text = NULL;
	char	   *end;

	*why = mv_sftp_path_problem(path);
	if (*why == NULL && verb == MV_SFTP_RENAME)
		*why = mv_sftp_path_problem(to);
	if (*why == NULL)
	{
		*why = "out of memory";
		text = malloc(20 + 2 * strlen(path) + (to ? 2 * strlen(to) : 0));
	}
	if (text)
	{
		end = text + sprintf(text, "%s%s ", may_fail ? "*" : "", names[verb]);
		end = quote(end, path);
		if (verb == MV_SFTP_RENAME && to)
		{
			*end++ = ' ';
			quote(end, to);
		}
		longer = curl_slist_append(list, text);
		free(text);
	}
	if (longer == NULL)
		curl_slist_free_all(list);
	else
		*why = NULL;
	return longer;
}

static CURLcode
prepare_commands(MvTransfer *transfer, CURL *easy)
{
	CURLcode	code = mv_sftp_set_path(easy, transfer->target, NULL);

	/* nothing is read or written: a path that ends with "/" isn't even looked at */
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_QUOTE, transfer->commands);
	return code;
}

void
mv_sftp_commands(MvTransfer *transfer, struct curl_slist *list)
{
	transfer->commands = list;
	transfer->prepare = prepare_commands;
}

/* ---- refusals */

/* Of a command there is only libcurl's sentence, "mkdir command failed: Operation failed". */
static MvSftpRefusal
command_refusal(const char *error)
{
	static const struct
	{
		const char *words;
		MvSftpRefusal refusal;
	}			told[] = {
		{"Permission denied", MV_SFTP_DENIED}, {"write protected", MV_SFTP_DENIED},
		{"No such file", MV_SFTP_MISSING}, {"File not found", MV_SFTP_MISSING},
		{"already exists", MV_SFTP_TAKEN}, {"Disk full", MV_SFTP_FULL}, {"quota exceeded", MV_SFTP_FULL}
	};

	for (int i = 0; i < lengthof(told); i++)
		if (strstr(error, told[i].words))
			return told[i].refusal;
	if (strstr(error, "Operation failed") && (strstr(error, "mkdir") || strstr(error, "rename")))
		return MV_SFTP_TAKEN;
	return MV_SFTP_NOT_REFUSED;
}

MvSftpRefusal
mv_sftp_refusal(const MvTransfer *transfer)
{
	switch (transfer->code)
	{
		case CURLE_LOGIN_DENIED:
			return MV_SFTP_LOGIN;
		case CURLE_PEER_FAILED_VERIFICATION:
			return MV_SFTP_HOST_KEY;
		case CURLE_REMOTE_ACCESS_DENIED:
			return MV_SFTP_DENIED;
		case CURLE_REMOTE_FILE_NOT_FOUND:
			return MV_SFTP_MISSING;
		case CURLE_REMOTE_FILE_EXISTS:
			return MV_SFTP_TAKEN;
		case CURLE_REMOTE_DISK_FULL:
			return MV_SFTP_FULL;
		case CURLE_QUOTE_ERROR:
			return command_refusal(transfer->error);
		default:
			return MV_SFTP_NOT_REFUSED;
	}
}
