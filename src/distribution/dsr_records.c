/*
 * Which cells of which records matter, after DDEX's definitions of record
 * types (part 8 of the Digital Sales Report, version 1.4); see dsr.h. The
 * versions of a record add cells at its end, so its cells are found by the
 * record's name alone; their number is judged where it is known.
 */
#include "postgres.h"

#include "distribution/dsr.h"

static const DsrRecord records[] = {
	/* a header and two footers for all profiles */
	{.name = "HEAD", .kind = DSR_HEAD, .start = 9, .end = 10},
	{.name = "FOOT", .kind = DSR_FOOT, .cells = 6, .lines = 2, .summaries = 4, .blocks = 5},
	{.name = "SRFO", .kind = DSR_FOOT, .cells = 3, .lines = 2, .summaries = 3},

	/* summaries */
	{.name = "SY01", .kind = DSR_SUMMARY, .version = "02", .cells = 15,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 11},
	{.name = "SY02", .kind = DSR_SUMMARY, .version = "03", .cells = 22,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 11},
	{.name = "SY03", .kind = DSR_SUMMARY, .version = "01", .cells = 23,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 11},
	{.name = "SY04", .kind = DSR_SUMMARY, .version = "01", .cells = 20,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 15, .start = 11, .end = 12},
	{.name = "SY05", .kind = DSR_SUMMARY, .version = "03", .cells = 26,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 18},
	{.name = "SY06", .kind = DSR_SUMMARY, .version = "01", .cells = 18,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 11},
	{.name = "SY07", .kind = DSR_SUMMARY, .version = "01", .cells = 21,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 9, .currency = 12},
	{.name = "SY08", .kind = DSR_SUMMARY, .version = "02", .cells = 25,
	.summary = 2, .channel = 3, .service = 5, .model = 7, .use = 8, .territory = 9, .currency = 13},
	{.name = "SY09", .kind = DSR_SUMMARY, .version = "01", .cells = 22,
	.summary = 2, .model = 3, .use = 4, .territory = 5, .service = 6, .currency = 16},
	{.name = "SY10", .kind = DSR_SUMMARY, .version = "01", .cells = 46,
		.summary = 2, .channel = 3, .model = 5, .use = 6, .start = 7, .end = 8, .territory = 13, .service = 14,
	.currency = 22, .other_currency = 21},
	{.name = "SY11", .kind = DSR_SUMMARY, .version = "01", .cells = 9,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8},
	{.name = "SY12", .kind = DSR_SUMMARY, .cells = 17,
	.summary = 2, .channel = 3, .model = 5, .use = 6, .territory = 7, .service = 8, .currency = 11},

	/* what was sold or heard, block by block */
	{.name = "RE01", .kind = DSR_RELEASE, .version = "02", .cells = 16, .block = 2, .release = 3, .upc = 7},
	{.name = "RE02", .kind = DSR_RELEASE, .cells = 6, .block = 2, .release = 3},
	{.name = "RE03", .kind = DSR_RELEASE, .version = "02", .cells = 17, .block = 2, .release = 3, .upc = 6},
	{.name = "RE04", .kind = DSR_RELEASE, .cells = 22, .block = 2, .release = 3, .upc = 7},
	{.name = "AS01", .kind = DSR_RESOURCE, .block = 2, .resource = 3, .dsp_resource = 4, .isrc = 5},
	{.name = "AS02", .kind = DSR_RESOURCE, .version = "03", .cells = 24, .block = 2, .resource = 3, .dsp_resource = 4, .isrc = 5},
	{.name = "AS03", .kind = DSR_RESOURCE, .version = "02", .cells = 32, .block = 2, .resource = 3, .dsp_resource = 4},
	{.name = "AS04", .kind = DSR_RESOURCE, .cells = 4, .block = 2, .resource = 3},
	{.name = "AS05", .kind = DSR_RESOURCE, .cells = 26, .block = 2, .resource = 3, .dsp_resource = 4, .isrc = 5},
	{.name = "AS06", .kind = DSR_RESOURCE, .cells = 39, .block = 2, .resource = 3, .dsp_resource = 4, .isrc = 5},
	{.name = "LC01", .kind = DSR_RESOURCE, .cells = 23, .block = 2, .resource = 3, .dsp_resource = 4, .isrc = 5},

	/* and how much of it */
	{.name = "SU01", .kind = DSR_SALE, .version = "02", .cells = 13, .is_download = true,
	.block = 2, .summary = 3, .transaction = 4, .release = 5, .resource = 6, .quantity = 9, .returns = 10, .use = 13},
	{.name = "SU02", .kind = DSR_SALE, .version = "02", .cells = 11,
	.block = 2, .summary = 3, .transaction = 4, .release = 5, .resource = 6, .quantity = 8, .use = 11},
	{.name = "SU03", .kind = DSR_SALE, .version = "02", .cells = 11,
		.block = 2, .transaction = 3, .summary = 4, .dsp_resource = 5, .quantity = 6, .revenue = {7}, .start = 8, .end = 9},
	{.name = "SU04", .kind = DSR_SALE, .version = "02", .cells = 24,
	.block = 2, .summary = 3, .transaction = 4, .release = 5, .resource = 6, .quantity = 15, .returns = 16, .use = 24},
	{.name = "SU05", .kind = DSR_SALE, .version = "01", .cells = 10,
	.block = 2, .summary = 3, .transaction = 4, .resource = 5, .quantity = 7, .use = 10},
	{.name = "SR01", .kind = DSR_SALE, .version = "01", .cells = 43, .is_download = true,
	.summary = 2, .isrc = 4, .upc = 24, .transaction = 34, .quantity = 37, .returns = 38, .use = 43},
	{.name = "SR02", .kind = DSR_SALE, .version = "01", .cells = 39,
	.summary = 2, .isrc = 4, .upc = 24, .transaction = 33, .quantity = 35, .use = 38},
	{.name = "SR03", .kind = DSR_SALE, .version = "01", .cells = 46,
		.summary = 2, .isrc = 4, .upc = 25, .transaction = 32, .quantity = 33, .revenue = {43, 34}, .start = 35, .end = 36},
	{.name = "SR04", .kind = DSR_SALE, .version = "01", .cells = 54, .is_download = true,
	.summary = 2, .upc = 36, .transaction = 43, .quantity = 49, .returns = 50, .use = 54},
	{.name = "SR05", .kind = DSR_SALE, .version = "01", .cells = 52,
	.summary = 2, .upc = 36, .transaction = 43, .quantity = 48, .use = 51},
	{.name = "SR06", .kind = DSR_SALE, .version = "01", .cells = 25,
		.summary = 2, .isrc = 4, .quantity = 14, .revenue = {25}, .start = 15, .end = 16},
	{.name = "SR08", .kind = DSR_SALE, .version = "01", .cells = 48,
		.transaction = 2, .upc = 4, .isrc = 14, .summary = 25, .start = 26, .is_day = true, .quantity = 27, .returns = 28, .net = 29,
		.revenue = {47, 45}, .other_revenue = {46, 44}},
};

static const DsrRecord other = {.name = "", .kind = DSR_OTHER};

/* The last cell that is looked at */
static int
needed(const DsrRecord *r)
{
	const int	places[] = {
		r->summary, r->channel, r->model, r->use, r->territory, r->service, r->currency, r->other_currency, r->start, r->end,
		r->block, r->release, r->resource, r->dsp_resource, r->upc, r->isrc, r->transaction, r->quantity, r->returns, r->net,
		r->revenue[0], r->revenue[1], r->other_revenue[0], r->other_revenue[1], r->lines, r->summaries
	};
	int			most = 0;

	for (int i = 0; i < lengthof(places); i++)
		most = Max(most, places[i]);
	return most;
}

static bool
is_name(DsrCell name)
{
	return (name.len == 4 || (name.len == 7 && name.text[4] == '.')) &&
		name.text[0] >= 'A' && name.text[0] <= 'Z' && name.text[1] >= 'A' && name.text[1] <= 'Z';
}

const DsrRecord *
dsr_record(DsrCell name, int ncells, bool *fits)
{
	static const DsrRecord *last = records;	/* most lines are of the kind of the one before */

	*fits = true;
	if (!is_name(name))
		return NULL;
	if (memcmp(last->name, name.text, 4) != 0)
	{
		const DsrRecord *found = NULL;

		for (int i = 0; i < lengthof(records) && found == NULL; i++)
			if (memcmp(records[i].name, name.text, 4) == 0)
				found = &records[i];
		if (found == NULL)
			return &other;
		last = found;
	}
	if (last->cells > 0 && (name.len == 4 ? last->version[0] == '\0' : memcmp(last->version, name.text + 5, 2) == 0))
		*fits = ncells == last->cells;
	else
		*fits = ncells >= needed(last);
	return last;
}
