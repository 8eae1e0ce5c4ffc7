/*
 * The JSON of a job and of a track. See resource.h.
 *
 * The same bytes as json_build_object() makes, in a fraction of its time: it
 * looks up the type of each argument whenever a query begins. Here the columns
 * of a row type are looked up once, and again when the row type has changed.
 */
#include "postgres.h"

#include "api/resource.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "core/row_json.h"
#include "core/uuid7.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_api_job);
PG_FUNCTION_INFO_V1(musicverse_api_time);
PG_FUNCTION_INFO_V1(musicverse_api_track);

#define MAX_PROPERTIES	16

typedef enum Of
{
	OF_ROW,						/* a column of the row */
	OF_TRACK,					/* a column of the job's track */
	OF_WHOLE_TRACK				/* the track as an object */
} Of;

typedef struct Property
{
	const char *name;
	const char *lead;			/* the name with what stands before and behind it */
	int			lead_len;
	Of			of;
	const char *column;			/* NULL = the same */
} Property;

#define NAMED(name) name, ", \"" name "\" : ", sizeof(", \"" name "\" : ") - 1

static const Property track_properties[] = {
	{NAMED("id")}, {NAMED("title")}, {NAMED("style")}, {NAMED("prompt")}, {NAMED("duration")}, {NAMED("audio_url")},
	{NAMED("cover_url")}, {NAMED("metadata")}, {NAMED("isrc")}, {NAMED("created_at")}, {NAMED("updated_at")}
};

static const Property job_v1_properties[] = {
	{NAMED("job_id"), OF_ROW, "id"}, {NAMED("status")}, {NAMED("progress")}, {NAMED("prompt")}, {NAMED("style")}, {NAMED("duration")},
	{NAMED("params")}, {NAMED("track_id"), OF_TRACK, "id"}, {NAMED("result_url"), OF_TRACK, "audio_url"}, {NAMED("error")},
	{NAMED("created_at")}, {NAMED("started_at")}, {NAMED("finished_at")}
};

static const Property job_v2_properties[] = {
	{NAMED("id")}, {NAMED("status")}, {NAMED("progress")}, {NAMED("prompt")}, {NAMED("style")}, {NAMED("duration")},
	{NAMED("params")}, {NAMED("track"), OF_WHOLE_TRACK}, {NAMED("error")}, {NAMED("created_at")}, {NAMED("started_at")},
	{NAMED("finished_at")}
};

/* Where the columns of a row type are that properties are taken from */
typedef struct Shape
{
	const Property *properties;
	int			n;
	Of			of;				/* which of them */
	uint64		identifier;		/* of the row type as it was then; 0 = not looked up yet */
	AttrNumber	user_id;
	AttrNumber	track_id;		/* of a job */
	AttrNumber	deleted_at;		/* of a track */
	AttrNumber	place[MAX_PROPERTIES];	/* 0 = taken from elsewhere */
	Oid			type[MAX_PROPERTIES];
} Shape;

static Shape track_shape = {track_properties, lengthof(track_properties), OF_ROW};

/* of version 1 and 2 */
static Shape job_shapes[] = {
	{job_v1_properties, lengthof(job_v1_properties), OF_ROW},
	{job_v2_properties, lengthof(job_v2_properties), OF_ROW}
};
/* what version 1 shows of a track; version 2 shows it as a whole */
static Shape job_track_shape = {job_v1_properties, lengthof(job_v1_properties), OF_TRACK};

StaticAssertDecl(lengthof(job_v1_properties) <= MAX_PROPERTIES, "too many properties");

static void
look_up(Shape *shape, TupleDesc desc, uint64 identifier)
{
	shape->identifier = 0;
	for (int i = 0; i < shape->n; i++)
	{
		const Property *property = &shape->properties[i];

		shape->place[i] = 0;
		if (property->of != shape->of)
			continue;
		shape->place[i] = mv_attnum(desc, property->column == NULL ? property->name : property->column);
		shape->type[i] = TupleDescAttr(desc, shape->place[i] - 1)->atttypid;
		switch (shape->type[i])
		{
			case INT4OID:
			case JSONBOID:
			case TEXTOID:
			case TIMESTAMPTZOID:
			case UUIDOID:
				break;
			default:
				elog(ERROR, "column of property \"%s\" has a type that isn't known here", property->name);
		}
	}
	shape->user_id = mv_attnum(desc, "user_id");
	if (shape->properties == track_properties)
		shape->deleted_at = mv_attnum(desc, "deleted_at");
	else if (shape->of == OF_ROW)
		shape->track_id = mv_attnum(desc, "track_id");
	shape->identifier = identifier;
}

/* The shape as it is for the row. Nothing below looks at the row's descriptor, which may go when a value is detoasted. */
static const Shape *
shape_for(Shape *shape, const MvRow *row)
{
	if (shape->identifier != row->identifier)
		look_up(shape, row->desc, row->identifier);
	return shape;
}

static inline char *
two_digits(char *out, int n)
{
	*out++ = '0' + n / 10;
	*out++ = '0' + n % 10;
	return out;
}

int
mv_api_time(TimestampTz at, char out[MV_API_TIME_LEN])
{
	Timestamp	time;
	Timestamp	date;
	int			year,
				month,
				day,
				seconds,
				fraction;
	char	   *end = out;

	if (TIMESTAMP_NOT_FINITE(at))
		return 0;
	time = at;
	TMODULO(time, date, USECS_PER_DAY);
	if (time < 0)
	{
		time += USECS_PER_DAY;
		date -= 1;
	}
	j2date((int) date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	seconds = time / USECS_PER_SEC;
	fraction = time % USECS_PER_SEC;
	end = pg_ultostr_zeropad(end, year > 0 ? year : 1 - year, 4);
	*end++ = '-';
	end = two_digits(end, month);
	*end++ = '-';
	end = two_digits(end, day);
	*end++ = 'T';
	end = two_digits(end, seconds / SECS_PER_HOUR);
	*end++ = ':';
	end = two_digits(end, seconds / SECS_PER_MINUTE % 60);
	*end++ = ':';
	end = two_digits(end, seconds % 60);
	*end++ = '.';
	end = two_digits(end, fraction / 10000);
	end = two_digits(end, fraction / 100 % 100);
	end = two_digits(end, fraction % 100);
	*end++ = 'Z';
	*end = '\0';
	return end - out;
}

/* The same as appendBinaryStringInfo(), for a few bytes at a time */
static inline void
append(StringInfo out, const char *data, int len)
{
	if (out->maxlen - out->len <= len)
		enlargeStringInfo(out, len);
	memcpy(out->data + out->len, data, len);
	out->len += len;
	out->data[out->len] = '\0';
}

static void
append_value(StringInfo out, Oid type, Datum value)
{
	char		buffer[MV_API_TIME_LEN + 2];
	int			len;

	switch (type)
	{
		case INT4OID:
			append(out, buffer, pg_ltoa(DatumGetInt32(value), buffer));
			break;
		case JSONBOID:
			{
				Jsonb	   *jb = DatumGetJsonbP(value);

				(void) JsonbToCString(out, &jb->root, VARSIZE(jb));
				break;
			}
		case TEXTOID:
			{
				text	   *plain = DatumGetTextPP(value);

				mv_append_json_string(out, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
				break;
			}
		case TIMESTAMPTZOID:
			len = mv_api_time(DatumGetTimestampTz(value), buffer + 1);
			if (len == 0)
			{
				append(out, "null", 4);
				break;
			}
			buffer[0] = buffer[len + 1] = '"';
			append(out, buffer, len + 2);
			break;
		case UUIDOID:
			buffer[0] = '"';
			mv_uuid_text(DatumGetUUIDP(value), buffer + 1);
			buffer[37] = '"';
			append(out, buffer, 38);
			break;
	}
}

/* The object of a row, of a job with what it shows of its track, which may be NULL */
static void
append_object(StringInfo out, const Shape *shape, const MvRow *row, const Shape *track_shape, const MvRow *track)
{
	for (int i = 0; i < shape->n; i++)
	{
		const Property *property = &shape->properties[i];
		const MvRow *from = property->of == OF_ROW ? row : track;
		const Shape *of = property->of == OF_ROW ? shape : track_shape;
		int			place;

		if (i == 0)
		{
			append(out, "{", 1);
			append(out, property->lead + 2, property->lead_len - 2);
		}
		else
			append(out, property->lead, property->lead_len);
		if (from != NULL && property->of == OF_WHOLE_TRACK)
		{
			append_object(out, track_shape, track, NULL, NULL);
			continue;
		}
		place = from == NULL ? 0 : of->place[i];
		if (place == 0 || from->nulls[place - 1])
			append(out, "null", 4);
		else
			append_value(out, of->type[i], from->values[place - 1]);
	}
	append(out, "}", 1);
}

static void
begin_json(StringInfo out)
{
	initStringInfo(out);
	appendStringInfoSpaces(out, VARHDRSZ);
}

static Datum
end_json(StringInfo out)
{
	SET_VARSIZE(out->data, out->len);
	return PointerGetDatum(out->data);
}

static const pg_uuid_t *
uuid_at(const MvRow *row, AttrNumber place)
{
	return row->nulls[place - 1] ? NULL : DatumGetUUIDP(row->values[place - 1]);
}

/* A row of nothing but NULLs is what a join without a match may give. */
static bool
has_id(const Shape *shape, const MvRow *track)
{
	return !track->nulls[shape->place[0] - 1];
}

static bool
is_of(const Shape *shape, const MvRow *row, const pg_uuid_t *user_id)
{
	const pg_uuid_t *owner = uuid_at(row, shape->user_id);

	return owner != NULL && memcmp(owner, user_id, UUID_LEN) == 0;
}

static Datum
track_json(const Shape *shape, const MvRow *track)
{
	StringInfoData out;

	begin_json(&out);
	append_object(&out, shape, track, NULL, NULL);
	return end_json(&out);
}

bool
mv_api_is_deleted(const MvRow *track)
{
	return !track->nulls[shape_for(&track_shape, track)->deleted_at - 1];
}

Datum
mv_api_track(const MvRow *track, const pg_uuid_t *user_id)
{
	const Shape *shape = shape_for(&track_shape, track);

	return is_of(shape, track, user_id) ? track_json(shape, track) : (Datum) 0;
}

bool
mv_api_is_job_of(int version, const MvRow *job, const pg_uuid_t *user_id, const pg_uuid_t **track_id)
{
	const Shape *shape = shape_for(&job_shapes[version == 1 ? 0 : 1], job);

	*track_id = uuid_at(job, shape->track_id);
	return is_of(shape, job, user_id);
}

Datum
mv_api_job(int version, const MvRow *job, const MvRow *track)
{
	const Shape *shape = shape_for(&job_shapes[version == 1 ? 0 : 1], job);
	const Shape *of_track = NULL;
	StringInfoData out;

	if (track != NULL)
		of_track = shape_for(version == 1 ? &job_track_shape : &track_shape, track);
	if (track != NULL && version != 1 && !has_id(of_track, track))
		track = NULL;
	begin_json(&out);
	append_object(&out, shape, job, of_track, track);
	return end_json(&out);
}

/* _api_track(t tracks) */
Datum
musicverse_api_track(PG_FUNCTION_ARGS)
{
	MvRow		track;
	const Shape *shape;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	mv_row_of(PG_GETARG_HEAPTUPLEHEADER(0), &track);
	shape = shape_for(&track_shape, &track);
	if (!has_id(shape, &track))
		PG_RETURN_NULL();
	return track_json(shape, &track);
}

/* _api_job(version int, j generation_jobs, t tracks) */
Datum
musicverse_api_job(PG_FUNCTION_ARGS)
{
	MvRow		job;
	MvRow		track;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	mv_row_of(PG_GETARG_HEAPTUPLEHEADER(1), &job);
	if (!PG_ARGISNULL(2))
		mv_row_of(PG_GETARG_HEAPTUPLEHEADER(2), &track);
	return mv_api_job(PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0), &job, PG_ARGISNULL(2) ? NULL : &track);
}

/* _api_time(at timestamptz) */
Datum
musicverse_api_time(PG_FUNCTION_ARGS)
{
	char		buffer[MV_API_TIME_LEN];
	int			len = mv_api_time(PG_GETARG_TIMESTAMPTZ(0), buffer);

	if (len == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buffer, len));
}
