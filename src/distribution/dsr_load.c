/*
 * A report into dsr_lines, dsr_products and dsr_rejects, as fast as COPY would; see dsr.h.
 *
 * Rows are gathered and written page-wise (core/bulk.h). What they point to
 * lives in one context that is reset whenever they have been written; what
 * later lines refer to (summaries, the releases and resources of the block)
 * lives in another, and is bounded.
 *
 * A problem of the report as a whole is told, not raised: who called decides
 * what becomes of the rows. RowExclusiveLock on the tables.
 */
#include "postgres.h"

#include "core/bulk.h"
#include "core/catalog.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "distribution/dsr.h"
#include "distribution/identifiers.h"

#define BATCH_ROWS		400
#define BATCH_BYTES		(1024 * 1024)
#define MAX_SUMMARIES	100000
#define MAX_REFERENCES	1000	/* of releases, and of resources, in a block */
#define MAX_PRODUCTS	500000	/* that are remembered at once; then numbers begin anew */
#define MAX_CURRENCIES	200
#define MAX_REJECTS		10000	/* that are kept; all are counted */

/* Columns of dsr_lines */
enum
{
	COL_REPORT, COL_LINE, COL_RECORD, COL_TRANSACTION, COL_PRODUCT, COL_ISRC, COL_UPC, COL_TERRITORY, COL_MODEL, COL_USE, COL_SERVICE,
	COL_MEASURE, COL_QUANTITY, COL_REVENUE, COL_CURRENCY, COL_START, COL_END, COL_CUMULATIVE, COL_RAW,
	N_COLUMNS
};
#define N_REJECT_COLUMNS 4

typedef struct Summary
{
	char		id[DSR_MAX_ID + 1];		/* key */
	text	   *channel, *model, *use, *territory, *service, *currency, *other_currency;	/* NULL = empty */
	bool		is_download;
	bool		has_period;
	DateADT		start, end;
} Summary;

/* What was sold by a channel: few things are sold in many lines */
typedef struct ProductKey
{
	text	   *channel;		/* of one summary or another, so there may be several of it */
	char		upc[15];
	char		isrc[15];
} ProductKey;

typedef struct Product
{
	ProductKey	key;
	int			number;
	int64		lines;
} Product;

typedef struct Money
{
	text	   *currency;
	int128		amount;			/* in DSR_SCALE places */
} Money;

/* A release or resource of the block */
typedef struct Reference
{
	char		id[DSR_MAX_ID];
	size_t		id_len;
	char		dsp[DSR_MAX_ID];
	size_t		dsp_len;
	char		code[MV_IDENTIFIER_MAX];	/* UPC or ISRC */
	size_t		code_len;		/* 0 = none */
} Reference;

typedef struct References
{
	Reference  *items;
	int			n;
} References;

typedef struct Load
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
	HTAB	   *known;			/* of Product */
	int			nproducts;		/* numbers given */
	Money		revenue[MAX_CURRENCIES];
	int			ncurrencies;
	int128		quantity;

	HTAB	   *summaries;
	Summary    *last_summary;
	char		block[DSR_MAX_ID];
	size_t		block_len;		/* 0 = none yet */
	References	releases;
	References	resources;
	bool		has_period;		/* of the header */
	DateADT		start, end;
	int			files;
	text	   *streams, *downloads;
	text	   *last_record;	/* the name of the record in the batch, which seldom changes; NULL = none */

	int64		nlines, nsummaries, nblocks, nsales, nimported, nrejected, nignored;
	bool		has_head, has_foot;
	const char *problem;		/* of the whole; NULL = none */
} Load;

/* A line on its way */
typedef struct Line
{
	const DsrRecord *record;
	DsrCell	   *cells;
	const char *text;			/* decoded */
	size_t		len;
	int64		number;
	const char *why;			/* it is put aside; NULL = it is good */
} Line;

static inline DsrCell
cell(const Line *line, int place)
{
	static const DsrCell none = {"", 0};

	return place == 0 ? none : line->cells[place - 1];
}

static text *
kept_text(Load *load, DsrCell value)
{
	MemoryContext old;
	text	   *kept;

	if (value.len == 0)
		return NULL;
	old = MemoryContextSwitchTo(load->keep);
	kept = cstring_to_text_with_len(value.text, pg_mbcliplen(value.text, value.len, 200));
	MemoryContextSwitchTo(old);
	return kept;
}

/* ---- rows */

static void
flush(Load *load)
{
	mv_bulk_flush(load->lines);
	mv_bulk_flush(load->rejects);
	MemoryContextReset(load->batch);
	load->last_record = NULL;
	load->rows = 0;
	load->bytes = 0;
}

static void
put_aside(Load *load, int64 number, const char *text, size_t len, const char *why)
{
	TupleTableSlot *row;

	if (++load->nrejected > MAX_REJECTS)
		return;
	row = mv_bulk_row(load->rejects, NULL);
	if (row->tts_tupleDescriptor->natts != N_REJECT_COLUMNS)
		elog(ERROR, "table \"dsr_rejects\" has %d columns, not %d", row->tts_tupleDescriptor->natts, N_REJECT_COLUMNS);
	memset(row->tts_isnull, false, N_REJECT_COLUMNS * sizeof(bool));
	row->tts_values[0] = Int64GetDatum(load->report);
	row->tts_values[1] = Int64GetDatum(number);
	row->tts_values[2] = CStringGetTextDatum(why);
	row->tts_values[3] = PointerGetDatum(cstring_to_text_with_len(text, Min(len, DSR_KEPT)));	/* a bytea is laid out alike */
	load->rows++;
}

static inline void
set_text(TupleTableSlot *row, int column, text *value)
{
	row->tts_values[column] = PointerGetDatum(value);
	row->tts_isnull[column] = value == NULL;
}

static inline void
set_code(TupleTableSlot *row, int column, const char *code, size_t len)
{
	set_text(row, column, len > 0 ? cstring_to_text_with_len(code, len) : NULL);
}

static void
write_products(Load *load)
{
	HASH_SEQ_STATUS all;
	Product    *product;

	hash_seq_init(&all, load->known);
	while ((product = hash_seq_search(&all)) != NULL)
	{
		TupleTableSlot *row = mv_bulk_row(load->products, NULL);
		int			natts = row->tts_tupleDescriptor->natts;

		memset(row->tts_isnull, true, natts * sizeof(bool));
		row->tts_values[0] = Int64GetDatum(load->report);
		row->tts_values[1] = Int32GetDatum(product->number);
		set_text(row, 2, product->key.channel);
		set_code(row, 3, product->key.isrc, strlen(product->key.isrc));
		set_code(row, 4, product->key.upc, strlen(product->key.upc));
		row->tts_values[5] = Int64GetDatum(product->lines);
		row->tts_isnull[0] = row->tts_isnull[1] = row->tts_isnull[5] = false;
		load->rows++;
		if (load->rows >= BATCH_ROWS)
			mv_bulk_flush(load->products);
		hash_search(load->known, &product->key, HASH_REMOVE, NULL);
	}
	mv_bulk_flush(load->products);
}

/* The product's number, within the report. */
static int
product_of(Load *load, text *channel, const Reference *upc, const Reference *isrc)
{
	ProductKey	key;
	Product    *product;
	bool		found;

	if (hash_get_num_entries(load->known) >= MAX_PRODUCTS)
		write_products(load);
	memset(&key, 0, sizeof(key));
	key.channel = channel;
	memcpy(key.upc, upc->code, upc->code_len);
	memcpy(key.isrc, isrc->code, isrc->code_len);
	product = hash_search(load->known, &key, HASH_ENTER, &found);
	if (!found)
	{
		product->number = ++load->nproducts;
		product->lines = 0;
	}
	product->lines++;
	return product->number;
}

/* ---- what lines refer to */

static const char *
read_head(Load *load, const Line *line)
{
	int64		files;

	if (load->has_head)
		return "it has a second HEAD";
	load->has_head = true;
	load->has_period = dsr_date(cell(line, 9), false, &load->start) && dsr_date(cell(line, 10), true, &load->end) &&
		load->start <= load->end;
	load->files = dsr_integer(cell(line, 8), &files) && files > 0 && files < PG_INT32_MAX ? files : 1;
	return load->has_period ? NULL :
		psprintf("its HEAD has no period: \"%s\" to \"%s\"", dsr_show(cell(line, 9)), dsr_show(cell(line, 10)));
}

static void
read_summary(Load *load, Line *line)
{
	const DsrRecord *r = line->record;
	DsrCell		id = cell(line, r->summary);
	char		key[DSR_MAX_ID + 1] = {0};
	Summary    *summary;
	bool		found;

	load->nsummaries++;
	if (id.len == 0 || id.len > DSR_MAX_ID)
		line->why = "its SummaryRecordId is empty or too long";
	else if (cell(line, r->currency).len > 0 && !dsr_is_currency(cell(line, r->currency)))
		line->why = psprintf("\"%s\" is no currency", dsr_show(cell(line, r->currency)));
	else if (hash_get_num_entries(load->summaries) >= MAX_SUMMARIES)
		load->problem = psprintf("it has more than %d summaries", MAX_SUMMARIES);
	if (line->why != NULL || load->problem != NULL)
		return;
	memcpy(key, id.text, id.len);
	summary = hash_search(load->summaries, key, HASH_ENTER, &found);
	if (found)
	{
		line->why = psprintf("there is a summary \"%s\" already", dsr_show(id));
		return;
	}
	summary->channel = kept_text(load, cell(line, r->channel));
	summary->model = kept_text(load, cell(line, r->model));
	summary->use = kept_text(load, cell(line, r->use));
	summary->territory = kept_text(load, cell(line, r->territory));
	summary->service = kept_text(load, cell(line, r->service));
	summary->currency = kept_text(load, cell(line, r->currency));
	summary->other_currency = dsr_is_currency(cell(line, r->other_currency)) ? kept_text(load, cell(line, r->other_currency)) : NULL;
	summary->is_download = dsr_has_word(cell(line, r->use), "download");
	summary->has_period = r->start > 0 && dsr_date(cell(line, r->start), false, &summary->start) &&
		dsr_date(cell(line, r->end), true, &summary->end) && summary->start <= summary->end;
}

static Summary *
summary_of(Load *load, DsrCell id)
{
	char		key[DSR_MAX_ID + 1] = {0};

	if (id.len == 0 || id.len > DSR_MAX_ID)
		return NULL;
	if (load->last_summary != NULL && memcmp(load->last_summary->id, id.text, id.len) == 0 && load->last_summary->id[id.len] == '\0')
		return load->last_summary;
	memcpy(key, id.text, id.len);
	return load->last_summary = hash_search(load->summaries, key, HASH_FIND, NULL);
}

/* Another block begins: what the one before had is not referred to any more. */
static void
enter_block(Load *load, const Line *line)
{
	DsrCell		block = cell(line, line->record->block);
	size_t		len = Min(block.len, DSR_MAX_ID);

	if (line->record->block == 0 || (len == load->block_len && memcmp(block.text, load->block, len) == 0 && load->nblocks > 0))
		return;
	memcpy(load->block, block.text, len);
	load->block_len = len;
	load->nblocks++;
	load->releases.n = load->resources.n = 0;
}

static void
read_reference(Load *load, Line *line, References *references, int place, MvIdentifier kind, int code)
{
	DsrCell		id = cell(line, place);
	DsrCell		dsp = cell(line, line->record->dsp_resource);
	Reference  *item;

	if (id.len == 0 || id.len > DSR_MAX_ID || dsp.len > DSR_MAX_ID)
		line->why = "its reference is empty or too long";
	else if (references->n == MAX_REFERENCES)
		line->why = psprintf("its block has more than %d of them", MAX_REFERENCES);
	if (line->why != NULL)
		return;
	item = &references->items[references->n++];
	memcpy(item->id, id.text, item->id_len = id.len);
	memcpy(item->dsp, dsp.text, item->dsp_len = dsp.len);
	item->code_len = dsr_code(kind, cell(line, code), item->code);
}

static const Reference *
find_reference(const References *references, DsrCell id, bool by_dsp)
{
	for (int i = 0; i < references->n; i++)
	{
		const Reference *item = &references->items[i];

		if (by_dsp ? item->dsp_len == id.len && memcmp(item->dsp, id.text, id.len) == 0
			: item->id_len == id.len && memcmp(item->id, id.text, id.len) == 0)
			return item;
	}
	return NULL;
}

/* ---- how much */

/* Which release and recording a line is about: told by itself, or by reference. */
static void
resolve(Load *load, Line *line, Reference *upc, Reference *isrc)
{
	const DsrRecord *r = line->record;
	const Reference *release = NULL;
	const Reference *resource = NULL;

	upc->code_len = isrc->code_len = 0;
	if (r->block == 0)
	{
		upc->code_len = dsr_code(MV_GTIN, cell(line, r->upc), upc->code);
		isrc->code_len = dsr_code(MV_ISRC, cell(line, r->isrc), isrc->code);
		return;
	}
	if (cell(line, r->release).len > 0 && (release = find_reference(&load->releases, cell(line, r->release), false)) == NULL)
		line->why = psprintf("release \"%s\" is not in its block", dsr_show(cell(line, r->release)));
	else if (cell(line, r->resource).len > 0 && (resource = find_reference(&load->resources, cell(line, r->resource), false)) == NULL)
		line->why = psprintf("resource \"%s\" is not in its block", dsr_show(cell(line, r->resource)));
	else if (cell(line, r->dsp_resource).len > 0 &&
			 (resource = find_reference(&load->resources, cell(line, r->dsp_resource), true)) == NULL)
		line->why = psprintf("resource \"%s\" is not in its block", dsr_show(cell(line, r->dsp_resource)));
	/* a recording on its own was sold from the release that the block is about */
	if (release == NULL && load->releases.n > 0)
		release = &load->releases.items[0];
	if (release != NULL)
		*upc = *release;
	if (resource != NULL)
		*isrc = *resource;
}

static bool
read_quantity(Line *line, int64 *quantity)
{
	const DsrRecord *r = line->record;
	DsrCell		net = cell(line, r->net);
	DsrCell		gross = cell(line, r->quantity);
	DsrCell		returns = cell(line, r->returns);
	int64		returned = 0;

	if (net.len > 0)
	{
		if (dsr_integer(net, quantity))
			return true;
		gross = net;
	}
	else if (dsr_integer(gross, quantity))
	{
		if (returns.len == 0 || dsr_integer(returns, &returned))
		{
			*quantity -= returned;
			return true;
		}
		gross = returns;
	}
	line->why = gross.len == 0 ? "it has no number of uses" : psprintf("\"%s\" is no whole number that can be", dsr_show(gross));
	return false;
}

static int128 *
sum_of(Load *load, text *currency)
{
	int			i = 0;

	while (i < load->ncurrencies && memcmp(VARDATA_ANY(load->revenue[i].currency), VARDATA_ANY(currency), 3) != 0)
		i++;
	if (i == MAX_CURRENCIES)
		i--, load->problem = psprintf("it has more than %d currencies", MAX_CURRENCIES);
	else if (i == load->ncurrencies)
		load->revenue[load->ncurrencies++] = (Money) {.currency = currency};
	return &load->revenue[i].amount;
}

/* What it came to: the first cell that has a value, and the currency that is meant. NULL = the record doesn't tell. */
static Numeric
read_revenue(Load *load, Line *line, const Summary *summary, text **currency)
{
	const DsrRecord *r = line->record;
	const int	places[] = {r->revenue[0], r->revenue[1], r->other_revenue[0], r->other_revenue[1]};
	Numeric		value;

	*currency = NULL;
	for (int i = 0; i < lengthof(places); i++)
	{
		DsrCell		amount = cell(line, places[i]);

		if (amount.len == 0)
			continue;
		*currency = i < 2 ? summary->currency : summary->other_currency;
		if (*currency == NULL)
			line->why = psprintf("its summary \"%s\" names no currency", summary->id);
		else if (!dsr_decimal(amount, &value, sum_of(load, *currency)))
			line->why = psprintf("\"%s\" is no amount that can be", dsr_show(amount));
		else
			return value;
		return NULL;
	}
	return NULL;
}

static bool
read_period(const Load *load, Line *line, const Summary *summary, DateADT *start, DateADT *end)
{
	const DsrRecord *r = line->record;
	DsrCell		first = cell(line, r->start);
	DsrCell		last = r->is_day ? first : cell(line, r->end);

	if (first.len == 0 && last.len == 0)
	{
		*start = summary->has_period ? summary->start : load->start;
		*end = summary->has_period ? summary->end : load->end;
		return true;
	}
	if (dsr_date(first, false, start) && dsr_date(last, true, end) && *start <= *end)
		return true;
	line->why = psprintf("\"%s\" to \"%s\" is no period", dsr_show(first), dsr_show(last));
	return false;
}

/* Names seldom change from line to line. */
static text *
record_name(Load *load, DsrCell name)
{
	if (load->last_record == NULL || VARSIZE_ANY_EXHDR(load->last_record) != name.len ||
		memcmp(VARDATA_ANY(load->last_record), name.text, name.len) != 0)
		load->last_record = cstring_to_text_with_len(name.text, name.len);
	return load->last_record;
}

static void
read_sale(Load *load, Line *line)
{
	const DsrRecord *r = line->record;
	const Summary *summary = summary_of(load, cell(line, r->summary));
	DsrCell		transaction = cell(line, r->transaction);
	DsrCell		use = cell(line, r->use);
	Reference	upc;
	Reference	isrc;
	bool		is_download;
	int64		quantity;
	Numeric		revenue;
	text	   *currency;
	DateADT		start;
	DateADT		end;
	TupleTableSlot *row;

	load->nsales++;
	if (summary == NULL)
	{
		line->why = psprintf("summary \"%s\" is not in the report", dsr_show(cell(line, r->summary)));
		return;
	}
	resolve(load, line, &upc, &isrc);
	if (line->why != NULL || !read_quantity(line, &quantity) || !read_period(load, line, summary, &start, &end))
		return;
	revenue = read_revenue(load, line, summary, &currency);
	if (line->why != NULL)
		return;

	row = mv_bulk_row(load->lines, NULL);
	memset(row->tts_isnull, false, N_COLUMNS * sizeof(bool));
	row->tts_values[COL_REPORT] = Int64GetDatum(load->report);
	row->tts_values[COL_LINE] = Int64GetDatum(line->number);
	set_text(row, COL_RECORD, record_name(load, line->cells[0]));
	set_code(row, COL_TRANSACTION, transaction.text, pg_mbcliplen(transaction.text, transaction.len, DSR_MAX_ID));
	row->tts_values[COL_PRODUCT] = Int32GetDatum(product_of(load, summary->channel, &upc, &isrc));
	set_code(row, COL_ISRC, isrc.code, isrc.code_len);
	set_code(row, COL_UPC, upc.code, upc.code_len);
	set_text(row, COL_TERRITORY, summary->territory);
	set_text(row, COL_MODEL, summary->model);
	set_text(row, COL_USE, use.len > 0 ? cstring_to_text_with_len(use.text, pg_mbcliplen(use.text, use.len, 200)) : summary->use);
	set_text(row, COL_SERVICE, summary->service);
	is_download = r->is_download || (use.len > 0 ? dsr_has_word(use, "download") : summary->is_download);
	set_text(row, COL_MEASURE, is_download ? load->downloads : load->streams);
	row->tts_values[COL_QUANTITY] = Int64GetDatum(quantity);
	row->tts_values[COL_REVENUE] = revenue == NULL ? (Datum) 0 : NumericGetDatum(revenue);
	row->tts_isnull[COL_REVENUE] = revenue == NULL;
	set_text(row, COL_CURRENCY, currency);
	row->tts_values[COL_START] = DateADTGetDatum(start);
	row->tts_values[COL_END] = DateADTGetDatum(end);
	row->tts_values[COL_CUMULATIVE] = BoolGetDatum(load->is_cumulative);
	set_text(row, COL_RAW, cstring_to_text_with_len(line->text, line->len));
	load->quantity += quantity;
	load->nimported++;
	load->rows++;
}

/* ---- the end */

/* What the footer counts against what there was; of a report in several files only the file's own numbers can be judged. */
static const char *
read_foot(Load *load, const Line *line)
{
	const DsrRecord *r = line->record;
	bool		is_file = r->blocks > 0;	/* FOOT counts the file's, SRFO the report's */
	const struct
	{
		int			place;
		int64		there;
		bool		of_report;
		const char *what;
	}			counts[] = {
		{r->lines, line->number, !is_file, "lines"},
		{r->summaries, load->nsummaries, true, "summaries"},
		{r->blocks, load->nblocks, false, "blocks"},
	};

	load->has_foot = true;
	for (int i = 0; i < lengthof(counts); i++)
	{
		DsrCell		told = cell(line, counts[i].place);
		int64		number;

		if (counts[i].place == 0 || (counts[i].of_report && load->files > 1) || (told.len == 0 && i > 0))
			continue;
		if (!dsr_integer(told, &number))
			return psprintf("its footer tells \"%s\" as the number of %s", dsr_show(told), counts[i].what);
		if (number != counts[i].there)
			return psprintf("its footer counts " INT64_FORMAT " %s, but there are " INT64_FORMAT ": it was cut or changed",
							number, counts[i].what, counts[i].there);
	}
	return NULL;
}

static void
read_line(Load *load, const DsrLine *raw)
{
	static DsrCell cells[DSR_MAX_CELLS];
	DsrLine		decoded = *raw;
	Line		line = {.cells = cells, .number = raw->number};
	int			ncells;
	bool		fits;

	if (raw->len == 0 || raw->text[0] == '#')
		return;
	if (load->has_foot)
	{
		load->problem = psprintf("it goes on behind its footer, at line " INT64_FORMAT, raw->number);
		return;
	}
	if (raw->too_long)
		line.why = psprintf("it has more than %d bytes", DSR_MAX_LINE);
	else if ((decoded.text = dsr_decode(raw, &decoded.len, &line.why)) != NULL)
	{
		line.text = decoded.text;
		line.len = decoded.len;
		ncells = dsr_split(&decoded, cells);
		line.record = dsr_record(cells[0], ncells, &fits);
		if (line.record == NULL)
			line.why = psprintf("\"%s\" is no record", dsr_show(cells[0]));
		else if (!fits || ncells > DSR_MAX_CELLS)
			line.why = psprintf("a %s has not %d cells", dsr_show(cells[0]), ncells);
	}
	if (!load->has_head && (line.why != NULL || line.record->kind != DSR_HEAD))
	{
		load->problem = psprintf("it does not begin with a HEAD%s%s", line.why != NULL ? ": " : "", line.why != NULL ? line.why : "");
		return;
	}
	if (line.why == NULL)
	{
		enter_block(load, &line);
		switch (line.record->kind)
		{
			case DSR_HEAD:
				load->problem = read_head(load, &line);
				break;
			case DSR_SUMMARY:
				read_summary(load, &line);
				break;
			case DSR_RELEASE:
				read_reference(load, &line, &load->releases, line.record->release, MV_GTIN, line.record->upc);
				break;
			case DSR_RESOURCE:
				read_reference(load, &line, &load->resources, line.record->resource, MV_ISRC, line.record->isrc);
				break;
			case DSR_SALE:
				read_sale(load, &line);
				break;
			case DSR_FOOT:
				load->problem = read_foot(load, &line);
				break;
			case DSR_OTHER:
				load->nignored++;
				break;
		}
	}
	if (line.why != NULL)
		put_aside(load, raw->number, raw->text, raw->len, line.why);
}

static void
run(Load *load, DsrSource *source)
{
	MemoryContext old = CurrentMemoryContext;
	DsrLine		line;

	MemoryContextSwitchTo(load->batch);
	while (load->problem == NULL && dsr_next_line(source, &line))
	{
		CHECK_FOR_INTERRUPTS();
		load->nlines = line.number;
		load->bytes += line.len;
		read_line(load, &line);
		if ((load->rows >= BATCH_ROWS || load->bytes >= BATCH_BYTES) && load->problem == NULL)
			flush(load);
	}
	MemoryContextSwitchTo(old);
	if (load->problem == NULL && !load->has_head)
		load->problem = "it is empty";
	else if (load->problem == NULL && !load->has_foot)
		load->problem = "it has no FOOT or SRFO at its end: it was cut";
	else if (load->problem != NULL)
		load->problem = pstrdup(load->problem);
	if (load->problem == NULL)
	{
		flush(load);
		write_products(load);
	}
}

/* {"EUR": 1.20} */
static char *
print_revenue(const Load *load)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < load->ncurrencies; i++)
		appendStringInfo(&json, "%s\"%s\": %s", i == 0 ? "" : ", ", text_to_cstring(load->revenue[i].currency),
						 dsr_print(load->revenue[i].amount, DSR_SCALE));
	appendStringInfoChar(&json, '}');
	return json.data;
}

void
dsr_load(int64 report, bool is_cumulative, DsrSource *source, DsrLoaded *loaded)
{
	Oid			schema = mv_catalog()->schema;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "musicverse dsr", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	HASHCTL		control = {.keysize = DSR_MAX_ID + 1, .entrysize = sizeof(Summary), .hcxt = context};
	HASHCTL		products = {.keysize = sizeof(ProductKey), .entrysize = sizeof(Product), .hcxt = context};
	Load		load = {.report = report, .is_cumulative = is_cumulative};

	load.keep = context;
	load.batch = AllocSetContextCreate(context, "musicverse dsr rows", ALLOCSET_DEFAULT_SIZES);
	load.lines = mv_bulk_open(get_relname_relid("dsr_lines", schema));
	load.rejects = mv_bulk_open(get_relname_relid("dsr_rejects", schema));
	load.products = mv_bulk_open(get_relname_relid("dsr_products", schema));
	load.known = hash_create("musicverse dsr products", 1024, &products, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	load.summaries = hash_create("musicverse dsr summaries", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	load.releases.items = palloc(MAX_REFERENCES * sizeof(Reference));
	load.resources.items = palloc(MAX_REFERENCES * sizeof(Reference));
	load.streams = cstring_to_text("streams");
	load.downloads = cstring_to_text("downloads");
	run(&load, source);
	mv_bulk_close(load.products);
	mv_bulk_close(load.rejects);
	mv_bulk_close(load.lines);
	MemoryContextSwitchTo(old);

	loaded->problem = load.problem != NULL ? pstrdup(load.problem) : NULL;
	loaded->lines = load.nlines;
	loaded->sales = load.nsales;
	loaded->imported = load.nimported;
	loaded->rejected = load.nrejected;
	loaded->ignored = load.nignored;
	loaded->quantity = dsr_print(load.quantity, 0);
	loaded->revenue = print_revenue(&load);
	MemoryContextDelete(context);
}
