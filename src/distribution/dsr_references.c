/*
 * What the lines of a sales report refer to: summaries, and the releases and
 * resources of the block; see dsr.h.
 *
 * It lives as long as the report is read, and is bounded.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "distribution/dsr_int.h"

#define MAX_SUMMARIES	100000
#define MAX_REFERENCES	1000	/* of releases, and of resources, in a block */

void
dsr_begin_references(DsrLoad *load)
{
	HASHCTL		control = {.keysize = DSR_MAX_ID + 1, .entrysize = sizeof(DsrSummary), .hcxt = load->keep};

	load->summaries = hash_create("musicverse dsr summaries", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	load->releases.items = MemoryContextAlloc(load->keep, MAX_REFERENCES * sizeof(DsrReference));
	load->resources.items = MemoryContextAlloc(load->keep, MAX_REFERENCES * sizeof(DsrReference));
}

static text *
kept_text(DsrLoad *load, DsrCell value)
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

void
dsr_read_summary(DsrLoad *load, DsrEntry *line)
{
	const DsrRecord *r = line->record;
	DsrCell		id = dsr_cell(line, r->summary);
	char		key[DSR_MAX_ID + 1] = {0};
	DsrSummary *summary;
	bool		found;

	load->nsummaries++;
	if (id.len == 0 || id.len > DSR_MAX_ID)
		line->why = "its SummaryRecordId is empty or too long";
	else if (dsr_cell(line, r->currency).len > 0 && !dsr_is_currency(dsr_cell(line, r->currency)))
		line->why = psprintf("\"%s\" is no currency", dsr_show(dsr_cell(line, r->currency)));
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
	summary->channel = kept_text(load, dsr_cell(line, r->channel));
	summary->model = kept_text(load, dsr_cell(line, r->model));
	summary->use = kept_text(load, dsr_cell(line, r->use));
	summary->territory = kept_text(load, dsr_cell(line, r->territory));
	summary->service = kept_text(load, dsr_cell(line, r->service));
	summary->currency = kept_text(load, dsr_cell(line, r->currency));
	summary->other_currency =
		dsr_is_currency(dsr_cell(line, r->other_currency)) ? kept_text(load, dsr_cell(line, r->other_currency)) : NULL;
	summary->is_download = dsr_has_word(dsr_cell(line, r->use), "download");
	summary->has_period = r->start > 0 && dsr_date(dsr_cell(line, r->start), false, &summary->start) &&
		dsr_date(dsr_cell(line, r->end), true, &summary->end) && summary->start <= summary->end;
}

const DsrSummary *
dsr_find_summary(DsrLoad *load, DsrCell id)
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
void
dsr_enter_block(DsrLoad *load, const DsrEntry *line)
{
	DsrCell		block = dsr_cell(line, line->record->block);
	size_t		len = Min(block.len, DSR_MAX_ID);

	if (line->record->block == 0 || (len == load->block_len && memcmp(block.text, load->block, len) == 0 && load->nblocks > 0))
		return;
	memcpy(load->block, block.text, len);
	load->block_len = len;
	load->nblocks++;
	load->releases.n = load->resources.n = 0;
}

void
dsr_read_reference(DsrLoad *load, DsrEntry *line, DsrReferences *references, int place, MvIdentifier kind, int code)
{
	DsrCell		id = dsr_cell(line, place);
	DsrCell		dsp = dsr_cell(line, line->record->dsp_resource);
	DsrReference *item;

	if (id.len == 0 || id.len > DSR_MAX_ID || dsp.len > DSR_MAX_ID)
		line->why = "its reference is empty or too long";
	else if (references->n == MAX_REFERENCES)
		line->why = psprintf("its block has more than %d of them", MAX_REFERENCES);
	if (line->why != NULL)
		return;
	item = &references->items[references->n++];
	memcpy(item->id, id.text, item->id_len = id.len);
	memcpy(item->dsp, dsp.text, item->dsp_len = dsp.len);
	item->code_len = dsr_code(kind, dsr_cell(line, code), item->code);
}

static const DsrReference *
find_reference(const DsrReferences *references, DsrCell id, bool by_dsp)
{
	for (int i = 0; i < references->n; i++)
	{
		const DsrReference *item = &references->items[i];

		if (by_dsp ? item->dsp_len == id.len && memcmp(item->dsp, id.text, id.len) == 0
			: item->id_len == id.len && memcmp(item->id, id.text, id.len) == 0)
			return item;
	}
	return NULL;
}

/* Which release and recording a line is about: told by itself, or by reference. */
void
dsr_resolve(DsrLoad *load, DsrEntry *line, DsrReference *upc, DsrReference *isrc)
{
	const DsrRecord *r = line->record;
	const DsrReference *release = NULL;
	const DsrReference *resource = NULL;

	upc->code_len = isrc->code_len = 0;
	if (r->block == 0)
	{
		upc->code_len = dsr_code(MV_GTIN, dsr_cell(line, r->upc), upc->code);
		isrc->code_len = dsr_code(MV_ISRC, dsr_cell(line, r->isrc), isrc->code);
		return;
	}
	if (dsr_cell(line, r->release).len > 0 && (release = find_reference(&load->releases, dsr_cell(line, r->release), false)) == NULL)
		line->why = psprintf("release \"%s\" is not in its block", dsr_show(dsr_cell(line, r->release)));
	else if (dsr_cell(line, r->resource).len > 0 &&
			 (resource = find_reference(&load->resources, dsr_cell(line, r->resource), false)) == NULL)
		line->why = psprintf("resource \"%s\" is not in its block", dsr_show(dsr_cell(line, r->resource)));
	else if (dsr_cell(line, r->dsp_resource).len > 0 &&
			 (resource = find_reference(&load->resources, dsr_cell(line, r->dsp_resource), true)) == NULL)
		line->why = psprintf("resource \"%s\" is not in its block", dsr_show(dsr_cell(line, r->dsp_resource)));
	/* a recording on its own was sold from the release that the block is about */
	if (release == NULL && load->releases.n > 0)
		release = &load->releases.items[0];
	if (release != NULL)
		*upc = *release;
	if (resource != NULL)
		*isrc = *resource;
}
