/*
 * Names of steps, and what connectors want to know of files.
 */
#include "postgres.h"

#include "distribution/connector_steps.h"
#include "utils/timestamp.h"

#define DOUBT_LOOK_S	10		/* between two looks */

bool
mv_is_step(const char *step, const char *name)
{
	int			len = strlen(name);

	return step != NULL && strncmp(step, name, len) == 0 && (step[len] == '\0' || step[len] == '.');
}

int
mv_track_of(const char *step)
{
	const char *dot = strchr(step, '.');

	return dot != NULL ? atoi(dot + 1) : -1;
}

bool
mv_same_text(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

char *
mv_file_name(const char *url, const char *otherwise)
{
	int			end = strcspn(url, "?#");
	int			begin = end;

	while (begin > 0 && url[begin - 1] != '/')
		begin--;
	for (int i = begin; i < end; i++)
		if (!isalnum((unsigned char) url[i]) && strchr("._-", url[i]) == NULL)
			return pstrdup(otherwise);
	if (end == begin || end - begin >= 200 || memchr(url + begin, '.', end - begin) == NULL)
		return pstrdup(otherwise);
	return pnstrdup(url + begin, end - begin);
}

bool
mv_may_turn_up(const MvJob *job, MvOutcome *outcome)
{
	char	   *since = mv_json_text(job->state, "doubt_at");
	int64		left = mv_json_int(job->config, "doubt_time", 0);
	int64		now = (int64) timestamptz_to_time_t(job->now);

	if (since != NULL)
		left -= now - strtoll(since, NULL, 10);
	else
		mv_learn(outcome, "doubt_at", psprintf(INT64_FORMAT, now));
	if (left <= 0)
		return false;
	outcome->kind = MV_WAIT;
	outcome->until = job->now + Min(left, DOUBT_LOOK_S) * USECS_PER_SEC;
	return true;
}

const char *
mv_media_type(const char *name)
{
	static const char *const types[][2] = {
		{".flac", "audio/flac"}, {".wav", "audio/wav"}, {".aiff", "audio/aiff"}, {".aif", "audio/aiff"},
		{".png", "image/png"}, {".jpg", "image/jpeg"}, {".jpeg", "image/jpeg"}, {".webp", "image/webp"}
	};
	const char *dot = strrchr(name, '.');

	for (int i = 0; dot != NULL && i < lengthof(types); i++)
		if (pg_strcasecmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

char *
mv_track_file_name(const MvJob *job, int n)
{
	char	   *url = mv_json_text(job->release, psprintf("tracks.%d.audio_url", n));
	char	   *format = mv_json_text(job->release, psprintf("tracks.%d.file.format", n));
	char	   *name = mv_file_name(url != NULL ? url : "", psprintf("track-%d.wav", n + 1));

	if (format == NULL)
		return name;
	if (strcmp(format, "rf64") == 0)
		format = "wav";
	return psprintf("%.*s.%s", (int) (strrchr(name, '.') - name), name, format);
}
