/*
 * Apple's metadata.xml, after the Apple Music Specification 5.3. What is said
 * is decided in SQL (_itmsp_release()); here is the order of the elements.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "distribution/connector.h"
#include "distribution/ern_writer.h"
#include "distribution/package.h"

#define NAMESPACE	"http://apple.com/itunes/importer"
#define VERSION		"music5.3"

/* In UTF-8; NULL when it isn't there */
static char *
member(Jsonb *json, const char *name)
{
	char	   *text = mv_json_text(json, name);

	return text != NULL ? pg_server_to_any(text, strlen(text), PG_UTF8) : NULL;
}

/* Elements that are called as the members are */
static void
write_members(ErnWriter *w, Jsonb *json, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		w_text(w, names[i], member(json, names[i]));
}

#define WRITE_MEMBERS(w, json, ...) \
	write_members(w, json, (const char *const[]) {__VA_ARGS__}, lengthof(((const char *const[]) {__VA_ARGS__})))

/* Each element of an array, in an element around them all; nothing for none */
static void
write_list(ErnWriter *w, Jsonb *json, const char *name, void (*write) (ErnWriter *w, Jsonb *json))
{
	int			n = mv_json_length(json, name);

	if (n == 0)
		return;
	w_open(w, name);
	for (int i = 0; i < n; i++)
		write(w, mv_json_at(json, psprintf("%s.%d", name, i)));
	w_close(w);
}

static void
write_genre(ErnWriter *w, Jsonb *genre)
{
	w_open(w, "genre");
	w_attribute(w, "code", member(genre, "code"));
	w_close(w);
}

static void
write_product(ErnWriter *w, Jsonb *product)
{
	w_open(w, "product");
	WRITE_MEMBERS(w, product, "territory", "cleared_for_sale", "cleared_for_stream", "sales_start_date", "stream_start_date");
	w_close(w);
}

static void
write_role(ErnWriter *w, Jsonb *role)
{
	w_text(w, "role", member(role, "name"));
}

static void
write_artist(ErnWriter *w, Jsonb *artist)
{
	w_open(w, "artist");
	WRITE_MEMBERS(w, artist, "artist_name", "apple_id");
	write_list(w, artist, "roles", write_role);
	WRITE_MEMBERS(w, artist, "primary");
	w_close(w);
}

static void
write_file(ErnWriter *w, Jsonb *file, const char *element)
{
	if (file == NULL)
		return;
	w_open(w, element);
	WRITE_MEMBERS(w, file, "file_name", "size");
	w_text_with(w, "checksum", "type", "md5", member(file, "md5"));
	w_close(w);
}

static void
write_artwork(ErnWriter *w, Jsonb *file)
{
	write_file(w, file, "file");
}

static void
write_track(ErnWriter *w, Jsonb *track)
{
	w_open(w, "track");
	WRITE_MEMBERS(w, track, "vendor_id", "isrc", "title", "title_version", "original_release_date");
	write_list(w, track, "genres", write_genre);
	write_list(w, track, "products", write_product);
	WRITE_MEMBERS(w, track, "label_name", "copyright_pline", "explicit_content", "volume_number", "track_number");
	write_file(w, mv_json_at(track, "audio_file"), "audio_file");
	write_list(w, track, "artists", write_artist);
	WRITE_MEMBERS(w, track, "audio_language");
	w_close(w);
}

static void
write_package(ErnWriter *w, Jsonb *release)
{
	Jsonb	   *album = mv_json_at(release, "album");

	w->failed |= xmlTextWriterStartElementNS(w->xml, NULL, BAD_CAST "package", BAD_CAST NAMESPACE) < 0;
	w_attribute(w, "version", VERSION);
	WRITE_MEMBERS(w, release, "language", "provider");
	w_open(w, "album");
	WRITE_MEMBERS(w, album, "vendor_id", "upc", "title", "title_version", "original_release_date", "label_name");
	write_list(w, album, "genres", write_genre);
	WRITE_MEMBERS(w, album, "copyright_pline", "copyright_cline");
	write_list(w, album, "artwork_files", write_artwork);
	WRITE_MEMBERS(w, album, "track_count");
	write_list(w, album, "products", write_product);
	write_list(w, album, "artists", write_artist);
	write_list(w, album, "tracks", write_track);
	w_close(w);
	w_close(w);
}

char *
mv_itmsp_write(Jsonb *release)
{
	ErnWriter	w = {.message = NULL};
	xmlBufferPtr volatile buffer = w_start(&w);
	char	   *text = NULL;

	if (buffer == NULL)
		return NULL;
	PG_TRY();
	{
		write_package(&w, release);
	}
	PG_CATCH();
	{
		xmlFreeTextWriter(w.xml);
		xmlBufferFree(buffer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	buffer = w_finish(&w, buffer);
	if (buffer == NULL)
		return NULL;
	text = (char *) xmlBufferDetach(buffer);
	xmlBufferFree(buffer);
	return text;
}
