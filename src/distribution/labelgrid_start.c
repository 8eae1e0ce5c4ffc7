/*
 * LabelGrid: the requests of its steps.
 */
#include "postgres.h"

#include "distribution/labelgrid_int.h"

static char *
release_body(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->config, mv_json_of_text(mv_labelgrid_number(job))};

	return mv_json_print(mv_json_sql(&plan, "musicverse._labelgrid_release($1, $2, $3 #>> '{}')", 3, args));
}

static char *
track_body(const MvJob *job, int n)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->config, mv_jsonb_of(psprintf("%d", n))};

	return mv_json_print(mv_json_sql(&plan, "musicverse._labelgrid_track($1, $2, $3::text::int)", 3, args));
}

static char *
distribute_body(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {job->config, mv_labelgrid_platforms(job)};

	return mv_json_print(mv_json_sql(&plan, "jsonb_build_object('outlets', musicverse._labelgrid_outlets($1, $2))", 2, args));
}

static void
start_photo(const MvJob *job, const char *release_id, MvRequest *request)
{
	MvPart	   *part = palloc0(sizeof(MvPart));

	request->path = psprintf("/releases/%s/photo", release_id);
	request->source_url = mv_json_text(job->release, "cover_url");
	part->name = "file";
	request->source_sha256 = mv_json_text(job->release, "cover.sha256");
	part->file_name = mv_file_name(request->source_url, "cover.jpg");
	part->content_type = mv_media_type(part->file_name);
	request->parts = list_make1(part);
}

static void
start_upload(const MvJob *job, int n, MvRequest *request)
{
	request->method = "PUT";
	request->url = mv_labelgrid_known(job, n, "url");
	request->source_url = mv_labelgrid_source(job, n);
	request->source_sha256 = mv_json_text(job->release, psprintf("tracks.%d.file.sha256", n));
	request->content_type = mv_media_type(mv_track_file_name(job, n));
}

void
mv_labelgrid_start(const MvJob *job, const char *step, MvRequest *request)
{
	char	   *release_id = mv_json_text(job->state, "release_id");
	int			n = mv_track_of(step);
	char	   *track_id = n >= 0 ? mv_labelgrid_known(job, n, "id") : NULL;
	char	   *token = mv_json_text(job->credentials, "token");

	if (mv_is_step(step, "upload"))
	{
		/* the URL is what it is allowed by: a token would spoil it */
		start_upload(job, n, request);
		return;
	}
	if (token != NULL)
		request->headers = list_make1(psprintf("Authorization: Bearer %s", token));
	if (mv_is_step(step, "find_release"))
	{
		request->method = "GET";
		request->path = psprintf("/releases?filter%%5Bcat%%5D=%s", mv_labelgrid_number(job));
	}
	else if (mv_is_step(step, "create_release"))
	{
		request->path = "/releases";
		request->body = release_body(job);
	}
	else if (mv_is_step(step, "update_release"))
	{
		request->method = "PUT";
		request->path = psprintf("/releases/%s", release_id);
		request->body = release_body(job);
	}
	else if (mv_is_step(step, "find_track") || mv_is_step(step, "track_codes"))
	{
		request->method = "GET";
		request->path = psprintf("/tracks?release_id=%s&per_page=200", release_id);
	}
	else if (mv_is_step(step, "create_track"))
	{
		request->path = psprintf("/releases/%s/tracks", release_id);
		request->body = track_body(job, n);
	}
	else if (mv_is_step(step, "update_track"))
	{
		request->method = "PUT";
		request->path = psprintf("/tracks/%s", track_id);
		request->body = track_body(job, n);
	}
	else if (mv_is_step(step, "upload_url"))
	{
		request->path = psprintf("/tracks/%s/files/stereo/upload-url", track_id);
		request->body = psprintf("{\"filename\": \"%s\"}", mv_track_file_name(job, n));
	}
	else if (mv_is_step(step, "commit"))
	{
		static SPIPlanPtr plan = NULL;
		Jsonb	   *args[2] = {job->state, mv_json_of_text(mv_labelgrid_key(n, "key"))};

		request->method = "PUT";
		request->path = psprintf("/tracks/%s/files/stereo", track_id);
		request->body = mv_json_print(mv_json_sql(&plan, "jsonb_build_object('s3_key', $1 -> ($2 #>> '{}'))", 2, args));
	}
	else if (mv_is_step(step, "photo"))
		start_photo(job, release_id, request);
	else if (mv_is_step(step, "validate"))
		request->path = psprintf("/releases/%s/validate", release_id);
	else if (mv_is_step(step, "distribute"))
	{
		request->path = psprintf("/releases/%s/distribute", release_id);
		request->body = distribute_body(job);
	}
	else if (mv_is_step(step, "look") || mv_is_step(step, "codes"))
	{
		request->method = "GET";
		request->path = psprintf("/releases/%s", release_id);
	}
	else if (mv_is_step(step, "poll") || mv_is_step(step, "poll_removal") || mv_is_step(step, "find_distribution"))
	{
		request->method = "GET";
		request->path = psprintf("/queues/distro?release_id=%s&per_page=200", release_id);
	}
	else if (mv_is_step(step, "delete_release"))
	{
		request->method = "DELETE";
		request->path = psprintf("/releases/%s", release_id);
	}
	else if (mv_is_step(step, "takedown"))
		request->path = psprintf("/releases/%s/takedown-all", release_id);
	else
		elog(ERROR, "unknown step \"%s\"", step);
	/* another URL is wanted each time: the last one may have expired */
	request->idempotent = !mv_is_step(step, "upload_url") && (request->method == NULL || strcmp(request->method, "PUT") == 0);
}
