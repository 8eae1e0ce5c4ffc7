/*
 * UUIDs of version 7. A process takes random bytes from the system in blocks,
 * as a system call an id would cost more than the rest of an event.
 */
#include "postgres.h"

#include "core/uuid7.h"
#include "fmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_uuid7);
PG_FUNCTION_INFO_V1(musicverse_uuid7_bound);
PG_FUNCTION_INFO_V1(musicverse_uuid7_time);

#define RANDOM_BLOCK 1024

#define UNIX_EPOCH_USECS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/*
 * The first 8 bytes: milliseconds, version, and the microseconds within the
 * millisecond spread over 12 bits.
 */
static void
put_time(pg_uuid_t *out, uint64 unix_micros)
{
	uint64		ms = unix_micros / 1000;
	uint32		fraction = (uint32) (unix_micros % 1000) * 4096 / 1000;

	for (int i = 0; i < 6; i++)
		out->data[i] = (unsigned char) (ms >> (40 - 8 * i));
	out->data[6] = 0x70 | (fraction >> 8);
	out->data[7] = (unsigned char) fraction;
}

static void
put_random(pg_uuid_t *out)
{
	static unsigned char block[RANDOM_BLOCK];
	static int	left = 0;

	if (left < 8)
	{
		if (!pg_strong_random(block, sizeof(block)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = sizeof(block);
	}
	left -= 8;
	memcpy(out->data + 8, block + left, 8);
	explicit_bzero(block + left, 8);
	out->data[8] = (out->data[8] & 0x3f) | 0x80;
}

void
mv_uuid7(pg_uuid_t *out)
{
	static uint64 last = 0;
	uint64		now = (uint64) (GetCurrentTimestamp() + UNIX_EPOCH_USECS);

	/* a microsecond is four steps of the fraction: always go forward */
	if (now < last + 1)
		now = last + 1;
	last = now;
	put_time(out, now);
	put_random(out);
}

void
mv_uuid7_bound(TimestampTz at, pg_uuid_t *out)
{
	int64		unix_micros = at + UNIX_EPOCH_USECS;

	memset(out, 0, sizeof(*out));
	if (unix_micros < 0)
		return;
	put_time(out, (uint64) unix_micros);
}

TimestampTz
mv_uuid7_time(const pg_uuid_t *id)
{
	uint64		ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->data[i];
	return (int64) (ms * 1000) - UNIX_EPOCH_USECS;
}

static inline char *
put_hex(char *out, const unsigned char *bytes, int n)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < n; i++)
	{
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 0x0f];
	}
	return out;
}

void
mv_uuid_text(const pg_uuid_t *id, char out[37])
{
	char	   *p = put_hex(out, id->data, 4);

	*p++ = '-';
	p = put_hex(p, id->data + 4, 2);
	*p++ = '-';
	p = put_hex(p, id->data + 6, 2);
	*p++ = '-';
	p = put_hex(p, id->data + 8, 2);
	*p++ = '-';
	p = put_hex(p, id->data + 10, 6);
	*p = '\0';
}

Datum
musicverse_uuid7(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	mv_uuid7(id);
	PG_RETURN_UUID_P(id);
}

Datum
musicverse_uuid7_bound(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (TIMESTAMP_NOT_FINITE(at))
		memset(id, TIMESTAMP_IS_NOBEGIN(at) ? 0 : 0xff, sizeof(*id));
	else
		mv_uuid7_bound(at, id);
	PG_RETURN_UUID_P(id);
}

Datum
musicverse_uuid7_time(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(mv_uuid7_time(PG_GETARG_UUID_P(0)));
}
