/*
 * Facts of audio: inspect_audio() for bytes in the database, and the work of
 * kind "inspect" for what is at a URL, {"url": "https://…"}.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "media/inspect.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(musicverse_inspect_audio);

#define COLUMNS 12

static void
refuse(const char *why)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the file %s", why)));
}

void
mv_inspect(const MvAudioInput *input, MvAudioFacts *facts, void (*check) (void))
{
	char		why[MV_AUDIO_ERROR] = "";
	MvAudio    *audio = mv_audio_open(input, why);

	if (audio == NULL)
		refuse(why);
	PG_TRY();
	{
		while (mv_audio_step(audio, facts, why))
			check();
	}
	PG_FINALLY();
	{
		mv_audio_close(audio);
	}
	PG_END_TRY();
	if (why[0] != '\0')
		refuse(why);
}

bool
mv_inspect_slice(MvAudio *audio, MvAudioFacts *facts)
{
	char		why[MV_AUDIO_ERROR] = "";

	while (mv_audio_step(audio, facts, why))
	{
		mv_media_check();
		if (mv_media_slice_over())
			return false;
	}
	if (why[0] != '\0')
		refuse(why);
	return true;
}

/* Of a file of that format, such as "audio/wav" */
static const char *
media_type_of(const char *format)
{
	static const char *const types[][2] = {
		{"wav", "audio/wav"}, {"rf64", "audio/wav"}, {"aiff", "audio/aiff"}, {"flac", "audio/flac"}, {"ogg", "audio/ogg"},
		{"mp3", "audio/mpeg"}, {"m4a", "audio/mp4"}
	};

	for (int i = 0; i < lengthof(types); i++)
		if (strcmp(types[i][0], format) == 0)
			return types[i][1];
	return "application/octet-stream";
}

char *
mv_inspect_json(const MvAudioFacts *facts)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"format\": \"%s\"", facts->format);
	if (!facts->is_opaque)
	{
		appendStringInfo(&json, ", \"codec\": \"%s\", \"is_extensible\": %s, \"channels\": %d, \"sample_rate\": %d", facts->codec,
						 facts->is_extensible ? "true" : "false", facts->channels, facts->sample_rate);
		if (facts->bit_depth > 0)
			appendStringInfo(&json, ", \"bit_depth\": %d", facts->bit_depth);
		appendStringInfo(&json, ", \"frames\": " INT64_FORMAT ", \"duration\": %.3f, \"clipped\": " INT64_FORMAT
						 ", \"silence_start\": %.3f, \"silence_end\": %.3f, \"peaks\": [",
						 facts->frames, facts->duration, facts->clipped, facts->silence_start, facts->silence_end);
		for (int i = 0; i < facts->peak_count; i++)
			appendStringInfo(&json, "%s%.4f", i > 0 ? ", " : "", facts->peaks[i]);
		appendStringInfoChar(&json, ']');
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* ---- inspect_audio(audio) ---- */

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

static Datum
peaks_array(const MvAudioFacts *facts)
{
	Datum		peaks[MV_PEAKS];

	for (int i = 0; i < facts->peak_count; i++)
		peaks[i] = Float8GetDatum(rint(facts->peaks[i] * 10000.0) / 10000.0);
	return PointerGetDatum(construct_array(peaks, facts->peak_count, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
musicverse_inspect_audio(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	MvAudioInput input = {.memory = VARDATA_ANY(bytes), .fd = -1, .bytes = VARSIZE_ANY_EXHDR(bytes)};
	MvAudioFacts facts = {0};
	TupleDesc	desc;
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
	mv_inspect(&input, &facts, check_interrupts);
	values[0] = CStringGetTextDatum(facts.format);
	if (facts.is_opaque)
		memset(nulls + 1, true, COLUMNS - 1);
	else
	{
		nulls[1] = facts.codec[0] == '\0';
		values[1] = CStringGetTextDatum(facts.codec);
		values[2] = BoolGetDatum(facts.is_extensible);
		values[3] = Int32GetDatum(facts.channels);
		values[4] = Int32GetDatum(facts.sample_rate);
		nulls[5] = facts.bit_depth == 0;
		values[5] = Int32GetDatum(facts.bit_depth);
		values[6] = Int64GetDatum(facts.frames);
		values[7] = Float8GetDatum(facts.duration);
		values[8] = peaks_array(&facts);
		values[9] = Int64GetDatum(facts.clipped);
		values[10] = Float8GetDatum(facts.silence_start);
		values[11] = Float8GetDatum(facts.silence_end);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- work ---- */

typedef struct Inspection
{
	MvMediaSource source;
	MvAudio    *audio;
	MvAudioFacts facts;
} Inspection;

static Inspection *
begin_inspection(MvMediaTask *task, const MvMediaSource *source)
{
	Inspection *inspection = palloc0(sizeof(Inspection));
	MvAudioInput input = {.fd = source->fd, .bytes = source->bytes};
	char		why[MV_AUDIO_ERROR] = "";

	inspection->source = *source;
	task->state = inspection;
	inspection->audio = mv_audio_open(&input, why);
	if (inspection->audio == NULL)
		refuse(why);
	return inspection;
}

static bool
inspect(MvMediaTask *task, MvMediaResult *result)
{
	Inspection *inspection = task->state;
	MvMediaSource source;

	if (inspection == NULL)
	{
		if (!mv_media_fetch(task, mv_json_text(task->input, "url"), &source))
			return false;
		inspection = begin_inspection(task, &source);
	}
	if (!mv_inspect_slice(inspection->audio, &inspection->facts))
		return false;
	result->facts = mv_inspect_json(&inspection->facts);
	result->media_type = media_type_of(inspection->facts.format);
	result->bytes = inspection->source.bytes;
	result->sha256 = inspection->source.sha256;
	result->md5 = inspection->source.md5;
	return true;
}

static void
end_inspection(MvMediaTask *task)
{
	Inspection *inspection = task->state;

	if (inspection != NULL && inspection->audio != NULL)
		mv_audio_close(inspection->audio);
}

const MvMediaKind mv_inspect_kind = {"inspect", inspect, end_inspection};
