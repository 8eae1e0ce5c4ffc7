/*
 * The state file, see state.h: a header, then the sections, each with its
 * name, version, length and checksum. It is replaced by renaming a complete
 * new one. Once read it is marked as not clean any more, so that the next
 * start after a crash knows that its counts are out of date.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "core/shared.h"
#include "core/state.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#define STATE_FILE	"pg_stat/musicverse.state"
#define MAGIC		UINT64CONST(0x3145544154534d56)
#define MAX_FILE	((int64) 1024 * 1024 * 1024)

typedef struct FileHeader
{
	uint64		magic;
	uint64		system_identifier;
	TimestampTz saved_at;
	uint32		clean;
	uint32		sections;
} FileHeader;

typedef struct SectionHeader
{
	char		name[32];
	uint32		version;
	pg_crc32c	crc;
	uint64		len;
} SectionHeader;

typedef struct StateTurn
{
	pg_atomic_uint64 written_at;	/* TimestampTz of the last writing that began */
} StateTurn;

static const MvStateSection *sections[MV_MAX_SECTIONS];
static int	nsections = 0;
static StateTurn *turn = NULL;
static bool failing = false;

static Size
turn_size(void)
{
	return sizeof(StateTurn);
}

static void
turn_start(void *memory, LWLockPadded *locks, bool fresh)
{
	turn = memory;
	if (fresh)
		pg_atomic_init_u64(&turn->written_at, 0);
}

static const MvSharedPart turn_part = {"musicverse state", 0, turn_size, turn_start};

void
mv_state_add(const MvStateSection *section)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (nsections == 0)
		mv_shared_add(&turn_part);
	Assert(nsections < MV_MAX_SECTIONS);
	sections[nsections++] = section;
}

bool
mv_state_has_room(StringInfo out, Size more)
{
	static bool told = false;

	if (out->len + more <= MV_STATE_SECTION_MAX)
		return true;
	if (!told)
		ereport(LOG,
				(errmsg("file \"%s\" can't hold all rate limits and counters", STATE_FILE),
				 errdetail("Each kind of them has %zu MB; the others begin anew after a restart.",
						   MV_STATE_SECTION_MAX / (1024 * 1024))));
	told = true;
	return false;
}

static void
append_section(StringInfo out, const MvStateSection *section)
{
	SectionHeader header = {0};
	StringInfoData data;

	initStringInfo(&data);
	section->save(&data);
	strlcpy(header.name, section->name, sizeof(header.name));
	header.version = section->version;
	header.len = data.len;
	INIT_CRC32C(header.crc);
	COMP_CRC32C(header.crc, data.data, data.len);
	FIN_CRC32C(header.crc);
	appendBinaryStringInfo(out, (char *) &header, sizeof(header));
	appendBinaryStringInfo(out, data.data, data.len);
	pfree(data.data);
}

/* Tells the first failure of a row of them. */
static void
complain(const char *what)
{
	if (!failing)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not %s file \"%s\": %m", what, STATE_FILE),
				 errhint("Rate limits and counters are not kept over a restart until this is put right.")));
	failing = true;
}

static void
write_file(bool clean)
{
	FileHeader	header = {MAGIC, GetSystemIdentifier(), GetCurrentTimestamp(), clean, nsections};
	char		temporary[MAXPGPATH];
	StringInfoData out;
	int			fd;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, (char *) &header, sizeof(header));
	for (int i = 0; i < nsections; i++)
		append_section(&out, sections[i]);

	snprintf(temporary, sizeof(temporary), "%s.%d", STATE_FILE, MyProcPid);
	fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		complain("create");
	else
	{
		bool		written = true;

		for (int at = 0; written && at < out.len;)
		{
			ssize_t		n = write(fd, out.data + at, out.len - at);

			if (n < 0 && errno == EINTR)
				continue;
			if (n == 0)
				errno = ENOSPC;
			written = n > 0;
			at += n;
		}
		if (!written)
			complain("write");
		if (CloseTransientFile(fd) != 0 && written)
		{
			complain("close");
			written = false;
		}
		if (!written)
			unlink(temporary);
		else if (durable_rename(temporary, STATE_FILE, failing ? DEBUG1 : LOG) != 0)
			failing = true;
		else
			failing = false;
	}
	pfree(out.data);
}

/* An immediate shutdown ends with code 0 as well, but is a crash for all that shared memory stands for. */
static bool
ended_cleanly(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	return crc_ok && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

static void
write_at_end(int code, Datum arg)
{
	/* after a crash shared memory can't be believed */
	if (code == 0 && turn != NULL && !IsUnderPostmaster && ended_cleanly())
		write_file(true);
}

static const MvStateSection *
find_section(const SectionHeader *header)
{
	for (int i = 0; i < nsections; i++)
		if (strncmp(header->name, sections[i]->name, sizeof(header->name)) == 0 &&
			header->version == sections[i]->version)
			return sections[i];
	return NULL;
}

/* False when the file is not what write_file wrote. */
static bool
load(char *data, Size len)
{
	FileHeader *header = (FileHeader *) data;
	Size		at = sizeof(FileHeader);
	int64		age;

	if (len < sizeof(FileHeader) || header->magic != MAGIC)
		return false;
	if (header->system_identifier != GetSystemIdentifier())
		return true;			/* a copy's: nothing of ours */
	age = Max(GetCurrentTimestamp() - header->saved_at, 0);
	for (uint32 i = 0; i < header->sections; i++)
	{
		SectionHeader section;
		const MvStateSection *reader;
		pg_crc32c	crc;

		if (len - at < sizeof(section))
			return false;
		memcpy(&section, data + at, sizeof(section));
		at += sizeof(section);
		if (section.len > len - at)
			return false;
		INIT_CRC32C(crc);
		COMP_CRC32C(crc, data + at, section.len);
		FIN_CRC32C(crc);
		if (!EQ_CRC32C(crc, section.crc))
			return false;
		reader = find_section(&section);
		if (reader != NULL)
			reader->load(data + at, section.len, age, header->clean == 1);
		at += section.len;
	}
	return true;
}

/* What was read is history from now on: a crash must not bring its counts back. */
static void
mark_unclean(int fd)
{
	uint32		clean = 0;

	if (pg_pwrite(fd, &clean, sizeof(clean), offsetof(FileHeader, clean)) != sizeof(clean) || pg_fsync(fd) != 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not mark file \"%s\" as read: %m", STATE_FILE)));
		unlink(STATE_FILE);
	}
}

static void
read_file(void)
{
	struct stat st;
	char	   *data;
	Size		at = 0;
	int			fd = OpenTransientFile(STATE_FILE, O_RDWR | PG_BINARY);

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", STATE_FILE)));
		return;
	}
	if (fstat(fd, &st) == 0 && st.st_size <= MAX_FILE)
	{
		data = palloc(st.st_size + 1);
		while (at < st.st_size)
		{
			ssize_t		n = read(fd, data + at, st.st_size - at);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			at += n;
		}
		if (!load(data, at))
			ereport(LOG,
					(errmsg("file \"%s\" is damaged and ignored", STATE_FILE),
					 errdetail("Rate limits begin anew, and counters not yet in the tables are lost.")));
		pfree(data);
		mark_unclean(fd);
	}
	CloseTransientFile(fd);
}

void
mv_state_start(void)
{
	if (nsections == 0)
		return;
	/* anew after a crash, which empties the list */
	on_shmem_exit(write_at_end, (Datum) 0);
	read_file();
}

void
mv_state_keep(int interval_ms)
{
	uint64		before;
	TimestampTz now = GetCurrentTimestamp();

	if (turn == NULL)
		return;
	before = pg_atomic_read_u64(&turn->written_at);
	if (now >= (TimestampTz) before && now - (TimestampTz) before < interval_ms * INT64CONST(1000))
		return;
	if (pg_atomic_compare_exchange_u64(&turn->written_at, &before, (uint64) now))
		write_file(false);
}
