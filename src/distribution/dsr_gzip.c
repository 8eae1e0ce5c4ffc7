/*
 * Reports that are packed with gzip, of one member or several; see dsr.h.
 *
 * What comes out is bounded, by its length and by how often it is longer than
 * what went in: a few kilobytes can stand for terabytes. Nothing raises for what
 * a stranger packed. The memory of zlib is the report's, so an error frees it.
 */
#include "postgres.h"

#include <zlib.h>

#include "miscadmin.h"

#include "distribution/dsr.h"

#define PIECE		(64 * 1024)
#define SMALL		(64 * INT64CONST(1024) * 1024)	/* so much may come out of anything */
#define MAX_RATIO	200							/* and so much more than went in, beyond that */

int			dsr_max_report_kb = 4 * 1024 * 1024;

struct DsrGzip
{
	z_stream	z;
	DsrReader	read;
	void	   *arg;
	int64		in, out;
	bool		between;		/* a member has ended */
	bool		at_end;			/* of what is read */
	const char *problem;
	char		told[128];		/* the problem, where it has numbers: rows may be freed before it is read */
	char		piece[PIECE];
};

static voidpf
allocate(voidpf context, uInt items, uInt size)
{
	return MemoryContextAllocExtended(context, (Size) items * size, MCXT_ALLOC_NO_OOM);
}

static void
release(voidpf context, voidpf memory)
{
	pfree(memory);
}

static void
out_of_memory(void)
{
	ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("A report could not be unpacked."));
}

bool
dsr_is_gzip(const char *begin, size_t len)
{
	return len >= 2 && memcmp(begin, "\x1f\x8b", 2) == 0;
}

DsrGzip *
dsr_gzip_begin(DsrReader read, void *arg)
{
	DsrGzip    *gzip = palloc0(sizeof(DsrGzip));

	gzip->read = read;
	gzip->arg = arg;
	gzip->z.zalloc = allocate;
	gzip->z.zfree = release;
	gzip->z.opaque = CurrentMemoryContext;
	/* 16: with the header of gzip, and its sum of the content */
	if (inflateInit2(&gzip->z, 16 + MAX_WBITS) != Z_OK)
		out_of_memory();
	return gzip;
}

void
dsr_gzip_end(DsrGzip *gzip)
{
	inflateEnd(&gzip->z);
	pfree(gzip);
}

/* False at the end of what there is. */
static bool
refill(DsrGzip *gzip)
{
	size_t		n;

	CHECK_FOR_INTERRUPTS();
	if (gzip->z.avail_in > 0)
		return true;
	n = gzip->at_end ? 0 : gzip->read(gzip->arg, gzip->piece, PIECE);
	gzip->at_end = n == 0;
	gzip->z.next_in = (Bytef *) gzip->piece;
	gzip->z.avail_in = n;
	gzip->in += n;
	return n > 0;
}

/* Behind a member is another one, or nothing but zeros, as tapes were filled up with. False when there is no other one. */
static bool
next_member(DsrGzip *gzip)
{
	while (refill(gzip) && *gzip->z.next_in == 0)
	{
		gzip->z.next_in++;
		gzip->z.avail_in--;
	}
	if (gzip->z.avail_in == 0)
		return false;
	if (*gzip->z.next_in != 0x1f)
	{
		gzip->problem = "something else is behind what was packed";
		return false;
	}
	gzip->between = false;
	if (inflateReset(&gzip->z) != Z_OK)
		out_of_memory();
	return true;
}

static void
judge_length(DsrGzip *gzip)
{
	if (gzip->out > (int64) dsr_max_report_kb * 1024)
		snprintf(gzip->told, sizeof(gzip->told), "unpacked it has more than %d kB, which is musicverse.max_report", dsr_max_report_kb);
	else if (gzip->out > SMALL && gzip->out / MAX_RATIO > gzip->in)
		snprintf(gzip->told, sizeof(gzip->told), "unpacked it has more than %d times its length: no report is like that", MAX_RATIO);
	else
		return;
	gzip->problem = gzip->told;
}

size_t
dsr_gzip_read(DsrGzip *gzip, char *to, size_t room)
{
	int			code = Z_OK;

	gzip->z.next_out = (Bytef *) to;
	gzip->z.avail_out = room;
	while (gzip->problem == NULL && gzip->z.avail_out == room)
	{
		if (gzip->between && !next_member(gzip))
			break;
		if (!refill(gzip))
		{
			gzip->problem = "what was packed ends in the middle: it was cut";
			break;
		}
		code = inflate(&gzip->z, Z_NO_FLUSH);
		if (code == Z_MEM_ERROR)
			out_of_memory();
		gzip->between = code == Z_STREAM_END;
		if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
			gzip->problem = "what was packed is damaged";
	}
	gzip->out += room - gzip->z.avail_out;
	if (gzip->problem == NULL)
		judge_length(gzip);
	return room - gzip->z.avail_out;
}

const char *
dsr_gzip_problem(const DsrGzip *gzip)
{
	return gzip->problem;
}
