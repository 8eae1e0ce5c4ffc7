/*
 * One row an attempt: what was sent, what came back, how long each part took.
 * What a receiver sent is made valid text first, whatever it was.
 */
#include "postgres.h"

#include "core/bulk.h"
#include "core/uuid7.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

/* Columns of webhook_attempts */
enum
{
	A_DELIVERY, A_ATTEMPT, A_WEBHOOK, A_USER, A_STARTED, A_RESPONSE, A_ERROR, A_REQUEST_HEADERS,
	A_RESPONSE_HEADERS, A_RESPONSE_BODY, A_TRUNCATED, A_DNS, A_CONNECT, A_TLS, A_FIRST_BYTE,
	A_TOTAL, A_REMOTE, A_COLUMNS
};

/*
 * What a receiver sent, as text of the database's encoding: what isn't valid
 * becomes U+FFFD, or a question mark where there is none.
 */
static void
append_clean(StringInfo out, const char *bytes, size_t len)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	const unsigned char *p = (const unsigned char *) bytes;
	const unsigned char *end = p + len;

	while (p < end)
	{
		const unsigned char *from = p;
		int			n = 0;

		while (p < end && *p != 0 && *p < 0x80)
			p++;
		appendBinaryStringInfo(out, (const char *) from, p - from);
		if (p == end)
			break;
		if (utf8 && *p != 0)
		{
			n = pg_utf_mblen(p);
			if (n > end - p || pg_encoding_verifymbchar(PG_UTF8, (const char *) p, end - p) != n)
				n = 0;
		}
		if (n > 0)
			appendBinaryStringInfo(out, (const char *) p, n);
		else
			appendStringInfoString(out, utf8 ? "\xef\xbf\xbd" : "?");
		p += Max(n, 1);
	}
}

text *
attempt_clean_text(const char *bytes, size_t len)
{
	StringInfoData out;
	text	   *result;

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	append_clean(&out, bytes, len);
	result = (text *) out.data;
	SET_VARSIZE(result, out.len);
	return result;
}

/* Does a quoted JSON string hold it as it is? */
static inline bool
is_plain(unsigned char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* A part of a header in quotes; nearly always it can be copied as it is. */
static void
append_json_part(StringInfo out, const char *bytes, size_t len, bool lower)
{
	size_t		plain = 0;

	while (plain < len && is_plain((unsigned char) bytes[plain]))
		plain++;
	if (plain == len)
	{
		int			start = out->len + 1;

		appendStringInfoCharMacro(out, '"');
		appendBinaryStringInfo(out, bytes, len);
		for (int i = start; lower && i < out->len; i++)
			out->data[i] = pg_ascii_tolower((unsigned char) out->data[i]);
		appendStringInfoCharMacro(out, '"');
	}
	else
	{
		StringInfoData clean;

		initStringInfo(&clean);
		append_clean(&clean, bytes, len);
		escape_json(out, clean.data);
		pfree(clean.data);
	}
}

/* "Name: value\n" lines as a JSON object with names in lower case. */
static text *
headers_json(const char *lines, size_t len)
{
	StringInfoData out;
	const char *end = lines + len;
	char		separator = '{';

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	while (lines < end)
	{
		const char *eol = memchr(lines, '\n', end - lines);
		const char *colon;
		const char *value;

		if (eol == NULL)
			eol = end;
		colon = memchr(lines, ':', eol - lines);
		if (colon != NULL)
		{
			for (value = colon + 1; value < eol && (*value == ' ' || *value == '\t'); value++)
				;
			appendStringInfoCharMacro(&out, separator);
			append_json_part(&out, lines, colon - lines, true);
			appendStringInfoCharMacro(&out, ':');
			append_json_part(&out, value, eol - value, false);
			separator = ',';
		}
		lines = eol + 1;
	}
	appendStringInfoString(&out, separator == '{' ? "{}" : "}");
	SET_VARSIZE(out.data, out.len);
	return (text *) out.data;
}

static text *
request_headers_json(Exchange *exchange)
{
	Endpoint   *endpoint = exchange->delivery->endpoint;
	StringInfoData out;
	char		id[37];
	char		timestamp[MAXINT8LEN + 1];

	mv_uuid_text(&exchange->delivery->event_id, id);
	pg_lltoa(exchange->timestamp, timestamp);
	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendStringInfoString(&out, "{\"content-type\":\"application/json\",\"webhook-id\":\"");
	appendBinaryStringInfo(&out, id, 36);
	appendStringInfoString(&out, "\",\"webhook-timestamp\":\"");
	appendStringInfoString(&out, timestamp);
	appendStringInfoString(&out, exchange->two_signatures ? "\",\"webhook-signature\":\"<redacted, two>\"" :
						   "\",\"webhook-signature\":\"<redacted>\"");
	if (endpoint->headers_json != NULL)
		appendStringInfoString(&out, endpoint->headers_json);
	appendStringInfoCharMacro(&out, '}');
	SET_VARSIZE(out.data, out.len);
	return (text *) out.data;
}

static void
put_micros(TupleTableSlot *row, int column, int64 micros)
{
	row->tts_values[column] = Int32GetDatum((int32) Min(micros, PG_INT32_MAX));
	row->tts_isnull[column] = micros <= 0;
}

void
attempt_write(MvBulk *bulk, Exchange *exchange)
{
	Delivery   *delivery = exchange->delivery;
	MvTransfer *transfer = &exchange->transfer;
	TupleTableSlot *row = mv_bulk_row(bulk, &delivery->id);
	Datum	   *values = row->tts_values;
	bool	   *nulls = row->tts_isnull;

	memset(nulls, false, sizeof(bool) * A_COLUMNS);
	values[A_DELIVERY] = UUIDPGetDatum(&delivery->id);
	values[A_ATTEMPT] = Int16GetDatum(delivery->attempts + 1);
	values[A_WEBHOOK] = UUIDPGetDatum(&delivery->endpoint->id);
	values[A_USER] = UUIDPGetDatum(&delivery->endpoint->user_id);
	values[A_STARTED] = TimestampTzGetDatum(exchange->started_at);
	values[A_RESPONSE] = Int16GetDatum((int16) transfer->status);
	nulls[A_RESPONSE] = transfer->status <= 0;
	nulls[A_ERROR] = exchange->error[0] == '\0';
	if (!nulls[A_ERROR])
		values[A_ERROR] = PointerGetDatum(attempt_clean_text(exchange->error, strlen(exchange->error)));
	values[A_REQUEST_HEADERS] = PointerGetDatum(request_headers_json(exchange));
	nulls[A_RESPONSE_HEADERS] = transfer->response_headers == NULL;
	if (!nulls[A_RESPONSE_HEADERS])
		values[A_RESPONSE_HEADERS] = PointerGetDatum(headers_json(transfer->response_headers, transfer->response_headers_len));
	nulls[A_RESPONSE_BODY] = transfer->response_body == NULL;
	if (!nulls[A_RESPONSE_BODY])
		values[A_RESPONSE_BODY] = PointerGetDatum(attempt_clean_text(transfer->response_body, transfer->response_body_len));
	values[A_TRUNCATED] = BoolGetDatum(transfer->truncated);
	put_micros(row, A_DNS, transfer->timing.dns);
	put_micros(row, A_CONNECT, transfer->timing.connect);
	put_micros(row, A_TLS, transfer->timing.tls);
	put_micros(row, A_FIRST_BYTE, transfer->timing.first_byte);
	put_micros(row, A_TOTAL, transfer->timing.total);
	nulls[A_TOTAL] = false;
	nulls[A_REMOTE] = transfer->remote_addr[0] == '\0';
	if (!nulls[A_REMOTE])
		values[A_REMOTE] = CStringGetTextDatum(transfer->remote_addr);
}
