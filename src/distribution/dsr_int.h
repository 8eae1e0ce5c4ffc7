/*
 * Of the loading of sales reports: what its files share; see dsr.h.
 */
#ifndef MV_DSR_INT_H
#define MV_DSR_INT_H

#include "postgres.h"

#include "core/bulk.h"
#include "distribution/dsr.h"

#define DSR_MAX_CURRENCIES	200

typedef struct DsrSummary
{
	char		id[DSR_MAX_ID + 1];		/* key */
	text	   *channel, *model, *use, *territory, *service, *currency, *other_currency;	/* NULL = empty */
	bool		is_download;
	bool		has_period;
	DateADT		start, end;
} DsrSummary;

/* What was sold by a channel: few things are sold in many lines */
typedef struct DsrProductKey
{
	text	   *channel;		/* of one summary or another, so there may be several of it */
	char		upc[15];
	char		isrc[15];
} DsrProductKey;

typedef struct DsrProduct
{
	DsrProductKey key;
	int			number;
	int64		lines;
} DsrProduct;

typedef struct DsrMoney
{
	text	   *currency;
	int128		amount;			/* in DSR_SCALE places */
} DsrMoney;

/* A release or resource of the block */
typedef struct DsrReference
{
	char		id[DSR_MAX_ID];
	size_t		id_len;
	char		dsp[DSR_MAX_ID];
	size_t		dsp_len;
	char		code[MV_IDENTIFIER_MAX];	/* UPC or ISRC */
	size_t		code_len;		/* 0 = none */
} DsrReference;

typedef struct DsrReferences
{
	DsrReference *items;
	int			n;
} DsrReferences;

typedef struct DsrLoad
{
	int64		report;
	bool		is_cumulative;
	MemoryContext keep;
	MemoryContext batch;
	MvBulk	   *lines;
	MvBulk	   *rejects;
	int			rows;			/* in the batch */
	size_t		bytes;

	MvBulk	   *products;
	HTAB	   *known;			/* of DsrProduct */
	int			nproducts;		/* numbers given */
	DsrMoney	revenue[DSR_MAX_CURRENCIES];
	int			ncurrencies;
	int128		quantity;
	int64		uses;			/* the same, without a sign: at most DSR_MAX_USES */

	HTAB	   *summaries;
	DsrSummary *last_summary;
	char		block[DSR_MAX_ID];
	size_t		block_len;		/* 0 = none yet */
	DsrReferences releases;
	DsrReferences resources;
	bool		has_period;		/* of the header */
	DateADT		start, end;
	int			files;
	text	   *streams, *downloads;
	text	   *last_record;	/* the name of the record in the batch, which seldom changes; NULL = none */

	int64		nlines, nsummaries, nblocks, nsales, nimported, nrejected, nignored;
	bool		has_head, has_foot;
	const char *problem;		/* of the whole; NULL = none */
} DsrLoad;

/* A line on its way */
typedef struct DsrEntry
{
	const DsrRecord *record;
	DsrCell	   *cells;
	const char *text;			/* decoded */
	size_t		len;
	int64		number;
	const char *why;			/* it is put aside; NULL = it is good */
} DsrEntry;

/* What a line tells, as it is going to be stored */
typedef struct DsrSale
{
	const DsrSummary *summary;
	DsrReference upc, isrc;
	int64		quantity;
	Numeric		revenue;		/* NULL = the line doesn't tell */
	text	   *currency;
	DateADT		start, end;
} DsrSale;

static inline DsrCell
dsr_cell(const DsrEntry *line, int place)
{
	static const DsrCell none = {"", 0};

	return place == 0 ? none : line->cells[place - 1];
}

/* ---- dsr_references.c: what lines refer to; what is wrong is put into the line's why, or the load's problem */

extern void dsr_begin_references(DsrLoad *load);
extern void dsr_read_summary(DsrLoad *load, DsrEntry *line);

/* NULL = there is none of that id. */
extern const DsrSummary *dsr_find_summary(DsrLoad *load, DsrCell id);
extern void dsr_enter_block(DsrLoad *load, const DsrEntry *line);
extern void dsr_read_reference(DsrLoad *load, DsrEntry *line, DsrReferences *references, int place, MvIdentifier kind, int code);
extern void dsr_resolve(DsrLoad *load, DsrEntry *line, DsrReference *upc, DsrReference *isrc);

/* ---- dsr_rows.c: rows into tables, which dsr_flush() writes */

extern void dsr_write_sale(DsrLoad *load, const DsrEntry *line, const DsrSale *sale);
extern void dsr_put_aside(DsrLoad *load, int64 number, const char *text, size_t len, const char *why);

/* Is there so much that it is to be written? */
extern bool dsr_is_full(const DsrLoad *load);
extern void dsr_flush(DsrLoad *load);

/* At the end, behind the last dsr_flush(): what was sold, by number. */
extern void dsr_write_products(DsrLoad *load);

#endif							/* MV_DSR_INT_H */
