/*
 * A report into dsr_lines, dsr_products and dsr_rejects, as fast as COPY would; see dsr.h.
 *
 * Here a report is judged: its frame (header, footer, the order of records),
 * and how much each line tells. dsr_references.c knows what lines refer to,
 * dsr_rows.c writes what comes of them.
 *
 * A problem of the report as a whole is told, not raised: who called decides
 * what becomes of the rows. RowExclusiveLock on the tables.
 */
#include "postgres.h"

#include "core/catalog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "distribution/dsr_int.h"

void		(*dsr_between) (void) = NULL;

/* ---- how much */

static bool
read_quantity(DsrEntry *line, int64 *quantity)
{
	const DsrRecord *r = line->record;
	DsrCell		net = dsr_cell(line, r->net);
	DsrCell		gross = dsr_cell(line, r->quantity);
	DsrCell		returns = dsr_cell(line, r->returns);
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

/* Sums are of 64 bits wherever they are kept: what is absurd in one line is so in all of them. */
static bool
add_uses(DsrLoad *load, DsrEntry *line, int64 quantity)
{
	int64		uses = load->uses + (quantity < 0 ? -quantity : quantity);

	if (uses > DSR_MAX_USES)
	{
		line->why = psprintf("with it the uses of the report come to more than " INT64_FORMAT, DSR_MAX_USES);
		return false;
	}
	load->uses = uses;
	return true;
}

static int128 *
sum_of(DsrLoad *load, text *currency)
{
	int			i = 0;

	while (i < load->ncurrencies && memcmp(VARDATA_ANY(load->revenue[i].currency), VARDATA_ANY(currency), 3) != 0)
		i++;
	if (i == DSR_MAX_CURRENCIES)
		i--, load->problem = psprintf("it has more than %d currencies", DSR_MAX_CURRENCIES);
	else if (i == load->ncurrencies)
		load->revenue[load->ncurrencies++] = (DsrMoney) {.currency = currency};
	return &load->revenue[i].amount;
}

/* What it came to: the first cell that has a value, and the currency that is meant. NULL = the record doesn't tell. */
static Numeric
read_revenue(DsrLoad *load, DsrEntry *line, const DsrSummary *summary, text **currency)
{
	const DsrRecord *r = line->record;
	const int	places[] = {r->revenue[0], r->revenue[1], r->other_revenue[0], r->other_revenue[1]};
	Numeric		value;

	*currency = NULL;
	for (int i = 0; i < lengthof(places); i++)
	{
		DsrCell		amount = dsr_cell(line, places[i]);

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
read_period(const DsrLoad *load, DsrEntry *line, const DsrSummary *summary, DateADT *start, DateADT *end)
{
	const DsrRecord *r = line->record;
	DsrCell		first = dsr_cell(line, r->start);
	DsrCell		last = r->is_day ? first : dsr_cell(line, r->end);

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

static void
read_sale(DsrLoad *load, DsrEntry *line)
{
	const DsrRecord *r = line->record;
	const DsrSummary *summary = dsr_find_summary(load, dsr_cell(line, r->summary));
	DsrSale		sale;

	load->nsales++;
	if (summary == NULL)
	{
		line->why = psprintf("summary \"%s\" is not in the report", dsr_show(dsr_cell(line, r->summary)));
		return;
	}
	sale.summary = summary;
	dsr_resolve(load, line, &sale.upc, &sale.isrc);
	if (line->why != NULL || !read_quantity(line, &sale.quantity) || !read_period(load, line, summary, &sale.start, &sale.end))
		return;
	if (!add_uses(load, line, sale.quantity))
		return;
	sale.revenue = read_revenue(load, line, summary, &sale.currency);
	if (line->why == NULL)
		dsr_write_sale(load, line, &sale);
}

/* ---- the frame */

static const char *
read_head(DsrLoad *load, const DsrEntry *line)
{
	int64		files;

	if (load->has_head)
		return "it has a second HEAD";
	load->has_head = true;
	load->has_period = dsr_date(dsr_cell(line, 9), false, &load->start) && dsr_date(dsr_cell(line, 10), true, &load->end) &&
		load->start <= load->end;
	load->files = dsr_integer(dsr_cell(line, 8), &files) && files > 0 && files < PG_INT32_MAX ? files : 1;
	return load->has_period ? NULL :
		psprintf("its HEAD has no period: \"%s\" to \"%s\"", dsr_show(dsr_cell(line, 9)), dsr_show(dsr_cell(line, 10)));
}

/* What the footer counts against what there was; of a report in several files only the file's own numbers can be judged. */
static const char *
read_foot(DsrLoad *load, const DsrEntry *line)
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
		DsrCell		told = dsr_cell(line, counts[i].place);
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
read_line(DsrLoad *load, const DsrLine *raw)
{
	static DsrCell cells[DSR_MAX_CELLS];
	DsrLine		decoded = *raw;
	DsrEntry	line = {.cells = cells, .number = raw->number};
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
	if (!load->has_head && (line.why != NULL || line.record == NULL || line.record->kind != DSR_HEAD))
	{
		load->problem = psprintf("it does not begin with a HEAD%s%s", line.why != NULL ? ": " : "", line.why != NULL ? line.why : "");
		return;
	}
	if (line.why == NULL && line.record != NULL)
	{
		dsr_enter_block(load, &line);
		switch (line.record->kind)
		{
			case DSR_HEAD:
				load->problem = read_head(load, &line);
				break;
			case DSR_SUMMARY:
				dsr_read_summary(load, &line);
				break;
			case DSR_RELEASE:
				dsr_read_reference(load, &line, &load->releases, line.record->release, MV_GTIN, line.record->upc);
				break;
			case DSR_RESOURCE:
				dsr_read_reference(load, &line, &load->resources, line.record->resource, MV_ISRC, line.record->isrc);
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
		dsr_put_aside(load, raw->number, raw->text, raw->len, line.why);
}

static void
run(DsrLoad *load, DsrSource *source)
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
		if (dsr_is_full(load) && load->problem == NULL)
		{
			dsr_flush(load);
			if (dsr_between != NULL)
				dsr_between();
		}
	}
	MemoryContextSwitchTo(old);
	/* what was packed ended early: whatever else is wrong comes of it */
	if (dsr_problem(source) != NULL)
		load->problem = dsr_problem(source);
	if (load->problem == NULL && !load->has_head)
		load->problem = "it is empty";
	else if (load->problem == NULL && !load->has_foot)
		load->problem = "it has no FOOT or SRFO at its end: it was cut";
	else if (load->problem != NULL)
		load->problem = pstrdup(load->problem);
	if (load->problem == NULL)
	{
		dsr_flush(load);
		dsr_write_products(load);
	}
}

/* {"EUR": 1.20} */
static char *
print_revenue(const DsrLoad *load)
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
	HASHCTL		products = {.keysize = sizeof(DsrProductKey), .entrysize = sizeof(DsrProduct), .hcxt = context};
	DsrLoad		load = {.report = report, .is_cumulative = is_cumulative};

	load.keep = context;
	load.batch = AllocSetContextCreate(context, "musicverse dsr rows", ALLOCSET_DEFAULT_SIZES);
	load.lines = mv_bulk_open(get_relname_relid("dsr_lines", schema));
	load.rejects = mv_bulk_open(get_relname_relid("dsr_rejects", schema));
	load.products = mv_bulk_open(get_relname_relid("dsr_products", schema));
	load.known = hash_create("musicverse dsr products", 1024, &products, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dsr_begin_references(&load);
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
