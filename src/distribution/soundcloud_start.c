/*
 * What SoundCloud is asked in each step.
 *
 * Sharing is always said, as the description of the API has a default for it.
 */
#include "postgres.h"

#include "distribution/soundcloud_int.h"

#define PAGE	200

/* A track's fields; sharing as it is */
static Jsonb *
track_fields(const MvJob *job, int n, bool public)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[5] = {job->release, job->config, mv_json_of_text(job->reference), mv_jsonb_of(psprintf("%d", n)),
	mv_json_of_text(public ? "public" : "private")};

	return mv_json_sql(&plan, "musicverse._soundcloud_track($1, $2, $3 #>> '{}', $4::int, $5 #>> '{}')", 5, args);
}

static Jsonb *
playlist_fields(const MvJob *job, bool public)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[4] = {job->release, job->config, mv_json_of_text(job->reference),
	mv_json_of_text(public ? "public" : "private")};

	return mv_json_sql(&plan, "musicverse._soundcloud_playlist($1, $2, $3 #>> '{}', $4 #>> '{}')", 4, args);
}

/* The fields as parts of a form: "track[title]" */
static List *
form_of(const char *room, Jsonb *fields)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(room), fields};
	Jsonb	   *pairs = mv_json_sql(&plan, "jsonb_build_object('p', musicverse._soundcloud_parts($1 #>> '{}', $2))", 2, args);
	List	   *parts = NIL;

	for (int i = 0; i < mv_json_length(pairs, "p"); i++)
	{
		MvPart	   *part = palloc0(sizeof(MvPart));

		part->name = mv_json_text(pairs, psprintf("p.%d.0", i));
		part->value = mv_json_text(pairs, psprintf("p.%d.1", i));
		parts = lappend(parts, part);
	}
	return parts;
}

static List *
add_file(List *parts, const char *name, const char *source_url, const char *otherwise)
{
	MvPart	   *part = palloc0(sizeof(MvPart));

	if (source_url == NULL)
		return parts;
	part->name = name;
	part->source_url = source_url;
	part->file_name = mv_file_name(source_url, otherwise);
	part->content_type = mv_media_type(part->file_name);
	return lappend(parts, part);
}

static char *
cover_url(const MvJob *job)
{
	return mv_json_text(job->release, "cover_url");
}

static void
start_create(const MvJob *job, int n, MvRequest *request)
{
	char	   *sound = mv_json_text(job->release, psprintf("tracks.%d.audio_url", n));

	request->path = "/tracks";
	request->parts = form_of("track", track_fields(job, n, false));
	request->parts = add_file(request->parts, "track[asset_data]", sound, "audio.wav");
	request->parts = add_file(request->parts, "track[artwork_data]", cover_url(job), "cover.jpg");
}

static void
start_update(const MvJob *job, int n, bool public, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {track_fields(job, n, public)};

	request->method = "PUT";
	request->path = psprintf("/tracks/%s", mv_soundcloud_known(job, n, "urn"));
	request->body = mv_json_print(mv_json_sql(&plan, "jsonb_build_object('track', $1)", 1, args));
}

/* All fields again: the description of the API has defaults for those that are left out */
static void
start_artwork(const MvJob *job, int n, MvRequest *request)
{
	request->method = "PUT";
	request->path = psprintf("/tracks/%s", mv_soundcloud_known(job, n, "urn"));
	request->parts = form_of("track", track_fields(job, n, mv_soundcloud_known(job, n, "public") != NULL));
	request->parts = add_file(request->parts, "track[artwork_data]", cover_url(job), "cover.jpg");
}

static void
start_create_list(const MvJob *job, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {mv_soundcloud_urns(job)};
	MvPart	   *tracks = palloc0(sizeof(MvPart));

	tracks->name = "playlist[tracks][][urn]";
	tracks->value = mv_json_text(mv_json_sql(&plan, "jsonb_build_array((select string_agg(u, ',' order by n)"
											 " from jsonb_array_elements_text($1) with ordinality e (u, n)))", 1, args), "0");
	request->path = "/playlists";
	request->parts = lappend(form_of("playlist", playlist_fields(job, false)), tracks);
	request->parts = add_file(request->parts, "playlist[artwork_data]", cover_url(job), "cover.jpg");
}

static void
start_update_list(const MvJob *job, bool public, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {playlist_fields(job, public), mv_soundcloud_urns(job)};

	request->method = "PUT";
	request->path = psprintf("/playlists/%s", mv_soundcloud_known(job, -1, "urn"));
	request->body = mv_json_print(mv_json_sql(&plan, "jsonb_build_object('playlist', $1 || jsonb_build_object('tracks',"
											  " (select jsonb_agg(jsonb_build_object('urn', u) order by n)"
											  " from jsonb_array_elements_text($2) with ordinality e (u, n))))", 2, args));
}

/* A page of the tracks, or playlists, the newest first */
static void
start_find(const MvJob *job, const char *room, MvRequest *request)
{
	char	   *at = mv_json_text(job->state, "find_at");

	request->method = "GET";
	request->path = at != NULL ? at : psprintf("/me/%s?linked_partitioning=true&limit=%d", room, PAGE);
}

static void
start_one(const char *method, const char *room, const char *urn, MvRequest *request)
{
	request->method = method;
	request->path = psprintf("/%s/%s", room, urn);
}

void
mv_soundcloud_start(const MvJob *job, const char *step, MvRequest *request)
{
	int			n = mv_track_of(step);
	char	   *urn = mv_soundcloud_known(job, n, "urn");
	bool		public = mv_soundcloud_known(job, n, "public") != NULL;

	if (mv_is_step(step, "refuse") || mv_is_step(step, "delivered") || mv_is_step(step, "live") || mv_is_step(step, "taken_down"))
		request->nothing = true;
	else if (mv_is_step(step, "find"))
		start_find(job, "tracks", request);
	else if (mv_is_step(step, "find_list"))
		start_find(job, "playlists", request);
	else if (mv_is_step(step, "create"))
		start_create(job, n, request);
	else if (mv_is_step(step, "update"))
		start_update(job, n, public, request);
	else if (mv_is_step(step, "artwork"))
		start_artwork(job, n, request);
	else if (mv_is_step(step, "publish"))
		start_update(job, n, true, request);
	else if (mv_is_step(step, "create_list"))
		start_create_list(job, request);
	else if (mv_is_step(step, "update_list"))
		start_update_list(job, public, request);
	else if (mv_is_step(step, "publish_list"))
		start_update_list(job, true, request);
	else if (mv_is_step(step, "look") || mv_is_step(step, "gone"))
		start_one("GET", "tracks", urn, request);
	else if (mv_is_step(step, "replace") || mv_is_step(step, "delete"))
		start_one("DELETE", "tracks", urn, request);
	else if (mv_is_step(step, "gone_list"))
		start_one("GET", "playlists", urn, request);
	else if (mv_is_step(step, "delete_list"))
		start_one("DELETE", "playlists", urn, request);
	else
		elog(ERROR, "unknown step \"%s\"", step);
}
