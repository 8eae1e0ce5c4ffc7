/*
 * Sales reports of partners: DDEX Digital Sales Report, flat files.
 *
 * A report is lines of cells between tabs, in UTF-8. The first cell names the
 * record: HEAD begins, summaries (SY..) say where and how something was sold
 * and in which currency, releases (RE..) and resources (AS..) of a block say
 * what was, SU.. and SR.. how much, and FOOT or SRFO tells how many lines and
 * summaries there were. A report whose FOOT is missing or doesn't fit was cut,
 * and counts as a whole or not at all; a line that is wrong is put aside alone.
 *
 * It may be packed with gzip: that is known by its first bytes. What tells one
 * report from another is what comes out.
 *
 * Everything in it is a stranger's: lengths, encodings, numbers, references.
 * Memory doesn't grow with its lines.
 */
#ifndef MV_DSR_H
#define MV_DSR_H

#include "postgres.h"

#include "distribution/identifiers.h"
#include "utils/date.h"
#include "utils/numeric.h"

#define DSR_MAX_LINE	(1024 * 1024)	/* a longer one is put aside, however long it is */
#define DSR_MAX_CELLS	256
#define DSR_MAX_ID		100				/* bytes of what records refer to each other by */
#define DSR_SCALE		12				/* places behind the point that an amount may have */
#define DSR_KEPT		8192			/* bytes that are kept of a line put aside */
#define DSR_MAX_USES	INT64CONST(1000000000000000)	/* of a report: so many reports of them can be summed up */

typedef struct DsrCell
{
	const char *text;			/* not terminated */
	size_t		len;
} DsrCell;

/* ---- dsr_source.c: where lines come from */

typedef struct DsrSource DsrSource;

typedef struct DsrLine
{
	const char *text;			/* without what ends it; until the next line is asked for */
	size_t		len;
	bool		too_long;		/* then text is its beginning */
	int64		number;			/* from 1 */
} DsrLine;

extern DsrSource *dsr_open_memory(const char *data, size_t len);

/* Raises when the file isn't there, or is none. */
extern DsrSource *dsr_open_file(const char *path);

/* False at the end. */
extern bool dsr_next_line(DsrSource *source, DsrLine *line);

/* Why it ended before its end: what was packed is no gzip, or too much; NULL = it didn't. */
extern const char *dsr_problem(const DsrSource *source);

/* What was read up to now, unpacked; the digest, which is of that, ends the reading. */
extern int64 dsr_bytes(const DsrSource *source);
extern char *dsr_sha256(DsrSource *source);
extern void dsr_close(DsrSource *source);

/* ---- dsr_gzip.c: what is packed */

typedef struct DsrGzip DsrGzip;
typedef size_t (*DsrReader) (void *arg, char *to, size_t room); /* how much came; 0 = that was all */

extern int	dsr_max_report_kb;	/* musicverse.max_report */

extern bool dsr_is_gzip(const char *begin, size_t len);
extern DsrGzip *dsr_gzip_begin(DsrReader read, void *arg);
extern size_t dsr_gzip_read(DsrGzip *gzip, char *to, size_t room);	/* 0 = that was all, or there is a problem */
extern const char *dsr_gzip_problem(const DsrGzip *gzip);
extern void dsr_gzip_end(DsrGzip *gzip);

/* ---- dsr_records.c: which cells matter of which record */

typedef enum DsrKind
{
	DSR_HEAD, DSR_SUMMARY, DSR_RELEASE, DSR_RESOURCE, DSR_SALE, DSR_FOOT,
	DSR_OTHER					/* of no concern here: works, cues, claims, what a deal is made of */
} DsrKind;

/* The places of cells, from 1; 0 = the record has no such cell. */
typedef struct DsrRecord
{
	char		name[5];		/* without the version */
	DsrKind		kind;
	char		version[3];		/* of which the number of cells is known */
	int			cells;
	bool		is_download;	/* what it tells of are downloads, whatever the use is called */

	int			summary;		/* the summary's id, in the record itself or of a sale */
	int			channel, model, use, territory, service, currency, other_currency;
	int			start, end;		/* of the period; start alone is a day when is_day */
	bool		is_day;

	int			block;
	int			release, resource, dsp_resource;	/* references: that of the record, or those of a sale */
	int			upc, isrc;

	int			transaction;
	int			quantity, returns, net;
	int			revenue[2];		/* in the summary's currency, the first that has a value */
	int			other_revenue[2];	/* in its other one */

	int			lines, summaries, blocks;	/* of the footer */
} DsrRecord;

/* NULL = the cell names no record. *fits: has as many cells as that record has. */
extern const DsrRecord *dsr_record(DsrCell name, int ncells, bool *fits);

/* ---- dsr_values.c: what is in cells */

extern int	dsr_split(const DsrLine *line, DsrCell cells[DSR_MAX_CELLS]);	/* how many there are; at most DSR_MAX_CELLS are told */
extern bool dsr_integer(DsrCell cell, int64 *value);
extern bool dsr_decimal(DsrCell cell, Numeric *value, int128 *sum);	/* and adds it to what there is, in DSR_SCALE places */
extern char *dsr_print(int128 value, int scale);
extern bool dsr_date(DsrCell cell, bool is_end, DateADT *value);	/* YYYY, YYYY-MM, YYYY-MM-DD */

/* As it is to stand in a message: short, and without what is no letter */
extern const char *dsr_show(DsrCell value);

/* The stored form of the first of the codes in a cell; 0 = there is none that is valid */
extern size_t dsr_code(MvIdentifier kind, DsrCell value, char out[MV_IDENTIFIER_MAX]);
extern bool dsr_has_word(DsrCell value, const char *word);
extern bool dsr_is_currency(DsrCell value);

/* The line in the database's encoding; NULL and why when it can't be. */
extern const char *dsr_decode(const DsrLine *line, size_t *len, const char **why);

/* ---- dsr_load.c: a report into the tables */

typedef struct DsrLoaded
{
	char	   *problem;		/* why it must not count as a whole; NULL = it may */
	int64		lines, sales, imported, rejected, ignored;
	char	   *quantity;		/* in all, as a number */
	char	   *revenue;		/* as JSON, by currency */
} DsrLoaded;

/* Called between rows that are written, where it isn't NULL; must not raise. */
extern void (*dsr_between) (void);

extern void dsr_load(int64 report, bool is_cumulative, DsrSource *source, DsrLoaded *loaded);

#endif							/* MV_DSR_H */
