/*
 * Work of kind "cover": a cover as a file, of the arguments of request_cover().
 */
#include "postgres.h"

#include "core/json_path.h"
#include "distribution/cover.h"
#include "distribution/covers.h"
#include "media/media.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

typedef struct Work
{
	Jsonb	   *input;
	MvCover		cover;
	bool		jpeg;
} Work;

static double *
take_peaks(Jsonb *input, int *count)
{
	Jsonb	   *list = mv_json_at(input, "peaks");
	double	   *peaks;
	int			n;

	*count = 0;
	if (list == NULL || !JB_ROOT_IS_ARRAY(list))
		return NULL;
	n = JB_ROOT_COUNT(list);
	peaks = palloc(Max(n, 1) * sizeof(double));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&list->root, i);

		if (value != NULL && value->type == jbvNumeric)
			peaks[(*count)++] = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	}
	return peaks;
}

/* Texts are converted to UTF-8, which may need a look into catalogues. */
static void
prepare(void *arg)
{
	Work	   *work = arg;
	MvCoverRequest request = {0};

	request.title = mv_json_text(work->input, "title");
	request.artist = mv_json_text(work->input, "artist");
	request.style = mv_json_text(work->input, "style");
	request.seed = mv_json_text(work->input, "seed");
	request.size = mv_json_int(work->input, "size", 0);
	request.peaks = take_peaks(work->input, &request.peak_count);
	mv_cover_prepare(&request, &work->cover);
	work->jpeg = mv_cover_is_jpeg(mv_json_text(work->input, "format"));
}

static bool
draw(MvMediaTask *task, MvMediaResult *result)
{
	Work	   *work = palloc0(sizeof(Work));
	StringInfoData out;

	work->input = task->input;
	mv_media_transaction(prepare, work);
	mv_cover_make(&work->cover, work->jpeg, 0, &out);
	mv_media_check();
	mv_media_write(mv_media_output(task), out.data, out.len);
	result->media_type = work->jpeg ? "image/jpeg" : "image/png";
	result->extension = work->jpeg ? "jpg" : "png";
	result->facts = psprintf("{\"width\": %d, \"height\": %d}", work->cover.size, work->cover.size);
	return true;
}

const MvMediaKind mv_cover_kind = {"cover", draw};
