/*
 * What is asked of a partner that is an SFTP server.
 *
 * Its base_url is sftp://host:port/path. Paths of requests are below that path;
 * sftp://host/~/path begins where the user does. Its host keys are pinned in
 * its config, and who we are is in its credentials. The target is kept with the
 * partner, so that one connection serves many steps.
 */
#include "postgres.h"

#include "core/sftp.h"
#include "distribution/releases_int.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#define SCHEME	"sftp://"

/* Where the path of a base_url begins; the end of it when it has none */
static const char *
base_path(const char *base_url)
{
	const char *host = base_url + strlen(SCHEME);

	return host + strcspn(host, "/");
}

/* Raises when the partner or the request is no such thing. */
void
mv_dist_sftp_check(MvDistExchange *exchange)
{
	const MvRequest *request = &exchange->request;
	const char *base_url = exchange->job.base_url;

	if (base_url == NULL || pg_strncasecmp(base_url, SCHEME, strlen(SCHEME)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partner \"%s\" has no base_url that begins with sftp://", exchange->job.partner)));
	if (request->sftp == MV_SFTP_COMMANDS ? request->commands == NIL : request->path == NULL)
		elog(ERROR, "step \"%s\" asks for nothing", exchange->step);
}

/* Fingerprints with blanks between, NULL = none */
static char *
host_keys(Jsonb *config)
{
	StringInfoData keys;
	int			n = mv_json_length(config, "host_keys");

	if (n == 0)
		return mv_json_text(config, "host_keys");
	initStringInfo(&keys);
	for (int i = 0; i < n; i++)
	{
		char	   *key = mv_json_text(config, psprintf("host_keys.%d", i));

		appendStringInfo(&keys, "%s ", key != NULL ? key : "null");
	}
	return keys.data;
}

MvTarget *
mv_dist_sftp_target(MvPartner *partner, const char **why)
{
	MvTargetOptions options = {0};

	if (partner->sftp != NULL)
		return partner->sftp;
	options.url = pnstrdup(partner->base_url, base_path(partner->base_url) - partner->base_url);
	options.timeout_ms = partner->timeout_ms;
	options.connect_timeout_ms = Min(mv_connect_timeout_ms, partner->timeout_ms);
	options.user = mv_json_text(partner->credentials, "username");
	options.password = mv_json_text(partner->credentials, "password");
	options.private_key = mv_json_text(partner->credentials, "private_key");
	options.key_passphrase = mv_json_text(partner->credentials, "passphrase");
	options.host_keys = host_keys(partner->config);
	partner->sftp = mv_target_create(&options, why);
	return partner->sftp;
}

/* A path of a request, as the server knows it */
const char *
mv_dist_sftp_path(const MvDistExchange *exchange, const char *path)
{
	const char *base = base_path(exchange->job.base_url);
	char	   *whole = psprintf("%s%s%s", base, path[0] == '/' ? "" : "/", path);

	if (strncmp(whole, "/~/", 3) == 0)
		whole = whole[3] != '\0' ? whole + 3 : "./";
	return mv_dist_utf8(whole);
}

/* False when that is impossible: it has ended then. */
bool
mv_dist_sftp_commands(MvDistExchange *exchange)
{
	MvTransfer *transfer = &exchange->transfer;
	const char *why = NULL;
	ListCell   *cell;

	transfer->target = mv_dist_sftp_target(exchange->partner, &why);
	foreach(cell, exchange->request.commands)
	{
		const MvSftpLine *line = lfirst(cell);

		if (why == NULL)
			exchange->commands = mv_sftp_command(exchange->commands, line->verb, line->may_fail, mv_dist_sftp_path(exchange, line->path),
												 line->to != NULL ? mv_dist_sftp_path(exchange, line->to) : NULL, &why);
	}
	if (why != NULL)
	{
		mv_dist_end_ours(exchange, why);
		return false;
	}
	mv_sftp_commands(transfer, exchange->commands);
	if (mv_transfer_start(mv_dist.loop, transfer))
		return true;
	mv_dist_end_ours(exchange, transfer->error);
	return false;
}

/* What a server said, as HTTP would: 0 when it said nothing that means anything. */
int
mv_dist_sftp_status(const MvTransfer *transfer)
{
	if (transfer->code == CURLE_OK)
		return 200;
	switch (mv_sftp_refusal(transfer))
	{
		case MV_SFTP_LOGIN:
		case MV_SFTP_HOST_KEY:
		case MV_SFTP_DENIED:
			return 403;
		case MV_SFTP_MISSING:
			return 404;
		case MV_SFTP_TAKEN:
			return 409;
		case MV_SFTP_FULL:
			return 507;
		case MV_SFTP_NOT_REFUSED:
			break;
	}
	return 0;
}

/* The names in a list, those that are text and don't stand for directories themselves */
char *
mv_dist_sftp_names(const char *list, size_t len)
{
	StringInfoData names;
	const char *end = list + len;

	initStringInfo(&names);
	while (list < end)
	{
		const char *line_end = memchr(list, '\n', end - list);
		int			n = (int) ((line_end != NULL ? line_end : end) - list);
		char	   *name = pnstrdup(list, n);

		if (strlen(name) == n && n > 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && pg_verify_mbstr(PG_UTF8, name, n, true))
			appendStringInfo(&names, "%s\n", pg_any_to_server(name, n, PG_UTF8));
		list += n + 1;
	}
	return names.data;
}
