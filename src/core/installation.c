/*
 * What tells this database from a copy of it: the cluster's system identifier
 * and the database, which a dump doesn't carry, and the inode of a file that
 * lives as long as the data directory, which a physical copy doesn't keep.
 * Where stand-bys shall take over sending, their servers share one
 * musicverse.cluster_identity, which then stands in place of the inode.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "core/installation.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(musicverse_identity);

static char *cluster_identity = NULL;

void
mv_installation_init(void)
{
	DefineCustomStringVariable("musicverse.cluster_identity",
							   "Name shared by a primary and the stand-bys that may go on sending after a promotion.",
							   "Empty: every copy of the data directory must be enabled by enable_sending().",
							   &cluster_identity, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
}

char *
mv_directory_identity(void)
{
	char		path[MAXPGPATH];
	struct stat st;

	snprintf(path, sizeof(path), "%s/PG_VERSION", DataDir);
	if (stat(path, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return psprintf(UINT64_FORMAT "/%u/inode:%llu", GetSystemIdentifier(), MyDatabaseId,
					(unsigned long long) st.st_ino);
}

char *
mv_identity(void)
{
	if (cluster_identity != NULL && cluster_identity[0] != '\0')
		return psprintf(UINT64_FORMAT "/%u/name:%s", GetSystemIdentifier(), MyDatabaseId, cluster_identity);
	return mv_directory_identity();
}

bool
mv_is_copy(void)
{
	char	   *stored;

	if (SPI_execute("select identity from musicverse.installation", true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		return true;
	stored = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	/* the second: it has got a name since, which the delivery worker writes down */
	return strcmp(stored, mv_identity()) != 0 && strcmp(stored, mv_directory_identity()) != 0;
}

Datum
musicverse_identity(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(mv_identity()));
}
