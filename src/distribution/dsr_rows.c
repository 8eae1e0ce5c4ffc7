/*
 * The rows that come of a sales report, written page-wise (core/bulk.h); see dsr.h.
 *
 * What they point to lives in the batch's context, which is reset whenever
 * they have been written.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "distribution/dsr_int.h"

#define BATCH_ROWS		400
#define BATCH_BYTES		(1024 * 1024)
#define MAX_PRODUCTS	500000	/* that are remembered at once; then numbers begin anew */
#define MAX_REJECTS		10000	/* that are kept; all are counted */

/* Columns of dsr_lines */
enum
{
	COL_REPORT, COL_LINE, COL_RECORD, COL_TRANSACTION, COL_PRODUCT, COL_ISRC, COL_UPC, COL_TERRITORY, COL_MODEL, COL_USE, COL_SERVICE,
	COL_MEASURE, COL_QUANTITY, COL_REVENUE, COL_CURRENCY, COL_START, COL_END, COL_CUMULATIVE, COL_RAW,
	N_COLUMNS
};
#define N_REJECT_COLUMNS 4

void
dsr_flush(DsrLoad *load)
{
	mv_bulk_flush(load->lines);
	mv_bulk_flush(load->rejects);
	MemoryContextReset(load->batch);
	load->last_record = NULL;
	load->rows = 0;
	load->bytes = 0;
}

bool
dsr_is_full(const DsrLoad *load)
{
	return load->rows >= BATCH_ROWS || load->bytes >= BATCH_BYTES;
}

void
dsr_put_aside(DsrLoad *load, int64 number, const char *text, size_t len, const char *why)
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

void
dsr_write_products(DsrLoad *load)
{
	HASH_SEQ_STATUS all;
	DsrProduct *product;

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
product_of(DsrLoad *load, text *channel, const DsrReference *upc, const DsrReference *isrc)
{
	DsrProductKey key;
	DsrProduct *product;
	bool		found;

	if (hash_get_num_entries(load->known) >= MAX_PRODUCTS)
		dsr_write_products(load);
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

/* Names seldom change from line to line. */
static text *
record_name(DsrLoad *load, DsrCell name)
{
	if (load->last_record == NULL || VARSIZE_ANY_EXHDR(load->last_record) != name.len ||
		memcmp(VARDATA_ANY(load->last_record), name.text, name.len) != 0)
		load->last_record = cstring_to_text_with_len(name.text, name.len);
	return load->last_record;
}

void
dsr_write_sale(DsrLoad *load, const DsrEntry *line, const DsrSale *sale)
{
	const DsrRecord *r = line->record;
	DsrCell		transaction = dsr_cell(line, r->transaction);
	DsrCell		use = dsr_cell(line, r->use);
	bool		is_download = r->is_download || (use.len > 0 ? dsr_has_word(use, "download") : sale->summary->is_download);
	TupleTableSlot *row = mv_bulk_row(load->lines, NULL);

	memset(row->tts_isnull, false, N_COLUMNS * sizeof(bool));
	row->tts_values[COL_REPORT] = Int64GetDatum(load->report);
	row->tts_values[COL_LINE] = Int64GetDatum(line->number);
	set_text(row, COL_RECORD, record_name(load, line->cells[0]));
	set_code(row, COL_TRANSACTION, transaction.text, pg_mbcliplen(transaction.text, transaction.len, DSR_MAX_ID));
	row->tts_values[COL_PRODUCT] = Int32GetDatum(product_of(load, sale->summary->channel, &sale->upc, &sale->isrc));
	set_code(row, COL_ISRC, sale->isrc.code, sale->isrc.code_len);
	set_code(row, COL_UPC, sale->upc.code, sale->upc.code_len);
	set_text(row, COL_TERRITORY, sale->summary->territory);
	set_text(row, COL_MODEL, sale->summary->model);
	set_text(row, COL_USE, use.len > 0 ? cstring_to_text_with_len(use.text, pg_mbcliplen(use.text, use.len, 200)) : sale->summary->use);
	set_text(row, COL_SERVICE, sale->summary->service);
	set_text(row, COL_MEASURE, is_download ? load->downloads : load->streams);
	row->tts_values[COL_QUANTITY] = Int64GetDatum(sale->quantity);
	row->tts_values[COL_REVENUE] = sale->revenue == NULL ? (Datum) 0 : NumericGetDatum(sale->revenue);
	row->tts_isnull[COL_REVENUE] = sale->revenue == NULL;
	set_text(row, COL_CURRENCY, sale->currency);
	row->tts_values[COL_START] = DateADTGetDatum(sale->start);
	row->tts_values[COL_END] = DateADTGetDatum(sale->end);
	row->tts_values[COL_CUMULATIVE] = BoolGetDatum(load->is_cumulative);
	set_text(row, COL_RAW, cstring_to_text_with_len(line->text, line->len));
	load->quantity += sale->quantity;
	load->nimported++;
	load->rows++;
}
