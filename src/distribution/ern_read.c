/*
 * A release and a partner's profile, read from their JSON (docs/ddex.md tells
 * its members) into what a message is written of.
 *
 * Whatever can be derived is: who is displayed as the artist, durations of the
 * whole, the type by the number of tracks, codecs by file names, a deal by the
 * release date. What is wrong is told all at once, by one error. No locks.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/hsearch.h"

#include "distribution/ern_int.h"
#include "distribution/identifiers.h"

#define MAX_SECONDS (100 * 3600)

static const char *const ai_values[] = {"None", "Partly", "All", NULL};
static const char *const artist_roles[] = {"MainArtist", "FeaturedArtist", "Artist", "Composer", NULL};

static void
check_identifier(ErnObject *object, const char *member, MvIdentifier kind, const char *value)
{
	if (value != NULL && !mv_identifier_is_valid(kind, value, strlen(value)))
		ern_problem(object, member, "\"%s\" is no %s", value, mv_identifier_name(kind));
}

static const char *
identifier(ErnObject *object, const char *member, MvIdentifier kind, bool needed)
{
	const char *value = needed ? ern_need_text(object, member) : ern_text(object, member, NULL);

	check_identifier(object, member, kind, value);
	return value;
}

/* What stands in a path: no folder, nothing that a shell or server reads as more than a name */
static void
check_file_name(ErnObject *object, const char *member, const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (name != NULL && (*name == '.' || strlen(name) > 200 || strspn(name, letters) != strlen(name)))
		ern_problem(object, member, "\"%s\" is no file name of letters, digits, \"_\", \"-\" and \".\"", name);
}

/* ---- credits ---- */

static ErnCredits
read_credits(ErnObject *object, const char *member, bool artists)
{
	ErnCredits	credits = {0};
	ErnObject  *from = ern_objects(object, member, ERN_MAX_LIST, &credits.n);

	credits.item = ern_array(ErnCredit, credits.n + 1);
	for (int i = 0; i < credits.n; i++)
	{
		ErnCredit  *credit = &credits.item[i];

		credit->ai = artists ? NULL : ern_choice(&from[i], "ai", ai_values, NULL);
		credit->name = artists || !ern_bool(&from[i], "generative", false) ? ern_need_text(&from[i], "name") : NULL;
		credit->sort_name = ern_text(&from[i], "sort_name", NULL);
		credit->isni = identifier(&from[i], "isni", MV_ISNI, false);
		credit->ipi = ern_text(&from[i], "ipi", NULL);
		if (credit->ipi != NULL && (strlen(credit->ipi) != 11 || strspn(credit->ipi, "0123456789") != 11))
			ern_problem(&from[i], "ipi", "\"%s\" is no IPI name number of 11 digits", credit->ipi);
		credit->role = artists ? ern_choice(&from[i], "role", artist_roles, "MainArtist") : ern_need_text(&from[i], "role");
	}
	return credits;
}

/* "A, B & C feat. D": all but those who feature, then those */
static const char *
display_name(const ErnCredits *artists)
{
	StringInfoData name;

	initStringInfo(&name);
	for (int featured = 0; featured <= 1; featured++)
	{
		int			n = 0;
		int			written = 0;

		for (int i = 0; i < artists->n; i++)
			n += featured == (strcmp(artists->item[i].role, "FeaturedArtist") == 0);
		for (int i = 0; i < artists->n; i++)
		{
			if (featured != (strcmp(artists->item[i].role, "FeaturedArtist") == 0) || artists->item[i].name == NULL)
				continue;
			if (written > 0)
				appendStringInfoString(&name, written == n - 1 ? " & " : ", ");
			else if (featured)
				appendStringInfoString(&name, " feat. ");
			appendStringInfoString(&name, artists->item[i].name);
			written++;
		}
	}
	return name.data;
}

static void
read_artists(ErnObject *object, const ErnCredits *otherwise, ErnCredits *artists, const char **artist_name)
{
	bool		main = false;

	*artists = otherwise != NULL && !ern_has(object, "artists") ? *otherwise : read_credits(object, "artists", true);
	for (int i = 0; i < artists->n; i++)
		main |= strcmp(artists->item[i].role, "FeaturedArtist") != 0;
	if (!main)
		ern_problem(object, "artists", artists->n == 0 ? "is missing" : "has nobody but featured artists");
	*artist_name = ern_text(object, "artist_name", NULL);
	if (*artist_name == NULL)
		*artist_name = display_name(artists);
}

/* Everybody once, by name and ISNI: the credits point there */
typedef struct PartyEntry
{
	const char *key;			/* name and ISNI */
	int			party;
} PartyEntry;

static uint32
party_hash(const void *key, Size size)
{
	const char *text = *(const char *const *) key;

	return string_hash(text, strlen(text) + 1);
}

static int
party_match(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void
add_parties(ErnMessage *message, HTAB *known, ErnCredits *credits)
{
	for (int i = 0; i < credits->n; i++)
	{
		ErnCredit  *credit = &credits->item[i];
		char	   *key;
		PartyEntry *entry;
		bool		found;

		if (credit->name == NULL)
			continue;
		key = psprintf("%s\n%s", credit->name, credit->isni ? credit->isni : "");
		entry = hash_search(known, &key, HASH_ENTER, &found);
		if (!found)
		{
			entry->party = message->nparties;
			message->parties[message->nparties++] = credit;
		}
		credit->party = entry->party;
	}
}

static void
collect_parties(ErnMessage *message)
{
	HASHCTL		control = {.keysize = sizeof(char *), .entrysize = sizeof(PartyEntry), .hash = party_hash, .match = party_match,
	.hcxt = CurrentMemoryContext};
	HTAB	   *known = hash_create("parties of a release", 64, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	int			n = message->artists.n + 1;
	ErnCredit  *label = ern_array(ErnCredit, 1);

	for (int i = 0; i < message->ntracks; i++)
		n += message->tracks[i].artists.n + message->tracks[i].contributors.n;
	message->parties = ern_array(ErnCredit *, n);
	add_parties(message, known, &message->artists);
	for (int i = 0; i < message->ntracks; i++)
	{
		add_parties(message, known, &message->tracks[i].artists);
		add_parties(message, known, &message->tracks[i].contributors);
	}
	/* the label is a party of its own, also when an artist is called the same */
	label->name = message->label;
	message->parties[message->nparties++] = label;
	hash_destroy(known);
}

/* ---- lines, files, titles ---- */

static ErnLine
read_line(ErnObject *object, const char *member, ErnLine otherwise)
{
	ErnObject	from = ern_object(object, member);
	ErnLine		line = {0};
	int			year;

	if (from.json == NULL)
		return otherwise;
	year = ern_number(&from, "year", 1000, 9999, 0);
	line.year = year > 0 ? psprintf("%04d", year) : NULL;
	line.text = ern_need_text(&from, "text");
	return line;
}

static const char *
codec_of(const char *name)
{
	static const char *const codecs[][2] = {
		{".flac", "FLAC"}, {".wav", "PCM"}, {".aif", "PCM"}, {".aiff", "PCM"}, {".mp3", "MP3"}, {".m4a", "AAC"},
		{".jpg", "JPEG"}, {".jpeg", "JPEG"}, {".png", "PNG"}
	};
	const char *extension = strrchr(name, '.');

	for (int i = 0; extension != NULL && i < lengthof(codecs); i++)
		if (pg_strcasecmp(extension, codecs[i][0]) == 0)
			return codecs[i][1];
	return NULL;
}

static const char *
read_hash(ErnObject *object, const char *algorithm)
{
	static const struct
	{
		const char *algorithm;
		int			digits;
	}			sizes[] = {{"MD5", 32}, {"SHA1", 40}, {"SHA-224", 56}, {"SHA-256", 64}, {"SHA-384", 96}, {"SHA-512", 128}};
	ErnObject	hashes = ern_object(object, "hashes");
	const char *hash = ern_need_text(&hashes, algorithm);

	for (int i = 0; hash != NULL && i < lengthof(sizes); i++)
		if (strcmp(sizes[i].algorithm, algorithm) == 0 &&
			(strlen(hash) != sizes[i].digits || strspn(hash, "0123456789abcdefABCDEF") != sizes[i].digits))
			ern_problem(&hashes, algorithm, "\"%s\" has not %d hex digits", hash, sizes[i].digits);
	return hash;
}

static void
read_file(ErnObject *object, const ErnMessage *message, ErnFile *file)
{
	if (!message->resources)
		return;
	file->name = ern_need_text(object, "file");
	check_file_name(object, "file", file->name);
	file->size = ern_number(object, "size", 1, PG_INT64_MAX / 2, 0);
	file->codec = ern_text(object, "codec", file->name == NULL ? NULL : codec_of(file->name));
	if (strcmp(message->hash_algorithm, "none") != 0)
		file->hash = read_hash(object, message->hash_algorithm);
}

static const char *
read_explicit(ErnObject *object, const char *otherwise)
{
	static const char *const values[] = {"clean", "unknown", NULL};
	JsonbValue	buffer;
	JsonbValue *value = object->json == NULL ? NULL : getKeyJsonValueFromContainer(object->json, "explicit", 8, &buffer);

	if (value != NULL && value->type == jbvBool)
		return value->val.boolean ? "Explicit" : "NotExplicit";
	if (value != NULL && value->type == jbvString)
		return ern_choice(object, "explicit", values, NULL) == values[0] ? "ExplicitContentEdited" : "Unknown";
	if (value != NULL && value->type != jbvNull)
		ern_problem(object, "explicit", "must be true, false, \"clean\" or \"unknown\"");
	return otherwise;
}

static const char *
full_title(const char *title, const char *version)
{
	return title == NULL || version == NULL ? title : psprintf("%s (%s)", title, version);
}

/* ---- tracks ---- */

static void
check_ai(ErnObject *object, const ErnTrack *track)
{
	for (int i = 0; i < track->contributors.n; i++)
	{
		const ErnCredit *credit = &track->contributors.item[i];
		bool		by_ai = credit->name == NULL || (credit->ai != NULL && strcmp(credit->ai, "None") != 0);

		if (by_ai && (track->contains_ai == NULL || strcmp(track->contains_ai, "None") == 0))
			ern_problem(object, "contains_ai", "must be Partly or All, as a contributor is or used AI");
		else if (credit->name != NULL && track->contains_ai != NULL && strcmp(track->contains_ai, "All") == 0)
			ern_problem(object, "contains_ai", "cannot be All, as \"%s\" contributed", credit->name);
		else
			continue;
		return;
	}
}

static void
read_track(ErnObject *object, const ErnMessage *message, ErnTrack *track)
{
	int			instrumental = ern_has(object, "instrumental");

	track->isrc = identifier(object, "isrc", MV_ISRC, true);
	track->iswc = identifier(object, "iswc", MV_ISWC, false);
	track->title = ern_need_text(object, "title");
	track->version = ern_text(object, "version", NULL);
	track->full_title = full_title(track->title, track->version);
	read_artists(object, &message->artists, &track->artists, &track->artist_name);
	track->contributors = read_credits(object, "contributors", false);
	track->seconds = ern_number(object, "duration", 1, MAX_SECONDS, 0);
	if (track->seconds == 0)
		ern_problem(object, "duration", "is missing");
	track->disc = ern_number(object, "disc", 1, 99, 1);
	track->explicit = read_explicit(object, message->explicit);
	track->contains_ai = ern_choice(object, "contains_ai", ai_values, message->contains_ai);
	track->language = ern_text(object, "language", NULL);
	track->genre = ern_text(object, "genre", message->genre);
	track->subgenre = ern_text(object, "subgenre", ern_has(object, "genre") ? NULL : message->subgenre);
	track->first_published = ern_text(object, "first_published", message->original_release_date);
	if (ern_has(object, "first_published"))
		ern_check_date(object, "first_published", track->first_published);
	track->p_line = read_line(object, "p_line", message->p_line);
	track->instrumental = instrumental ? ern_bool(object, "instrumental", false) : -1;
	read_file(object, message, &track->file);
	track->channels = ern_number(object, "channels", 1, 64, 0);
	track->sample_rate = ern_number(object, "sample_rate", 1, 10000000, 0);
	track->bits = ern_number(object, "bits", 1, 64, 0);
	check_ai(object, track);
}

static void
read_tracks(ErnObject *release, ErnMessage *message)
{
	ErnObject  *from = ern_objects(release, "tracks", ERN_MAX_TRACKS, &message->ntracks);

	message->ndiscs = 1;
	if (message->ntracks == 0 && message->kind != ERN_PURGE)
		ern_problem(release, "tracks", "is missing or empty");
	message->tracks = ern_array(ErnTrack, message->ntracks + 1);
	for (int i = 0; i < message->ntracks; i++)
	{
		ErnTrack   *track = &message->tracks[i];

		read_track(&from[i], message, track);
		message->seconds += track->seconds;
		if (i > 0 && track->disc < track[-1].disc)
			ern_problem(&from[i], "disc", "%d comes after disc %d", track->disc, track[-1].disc);
		message->ndiscs = Max(message->ndiscs, track->disc);
		for (int j = 0; j < i; j++)
			if (track->isrc != NULL && message->tracks[j].isrc != NULL && strcmp(track->isrc, message->tracks[j].isrc) == 0)
			{
				ern_problem(&from[i], "isrc", "%s is that of tracks[%d] too", track->isrc, j);
				break;
			}
	}
}

/* Of the whole, where it isn't told: what all tracks are, or partly */
static const char *
sum_of_ai(const ErnMessage *message)
{
	const char *sum = message->ntracks > 0 ? message->tracks[0].contains_ai : NULL;

	for (int i = 1; i < message->ntracks; i++)
		if (message->tracks[i].contains_ai == NULL || sum == NULL)
			return NULL;
		else if (strcmp(message->tracks[i].contains_ai, sum) != 0)
			sum = "Partly";
	return sum;
}

/* ---- deals ---- */

static void
check_territories(ErnObject *object, const char *member, const ErnStrings *codes)
{
	for (int i = 0; i < codes->n; i++)
		if (strcmp(codes->item[i], "Worldwide") != 0 &&
			!(strlen(codes->item[i]) == 2 && strspn(codes->item[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 2))
			ern_problem(object, member, "\"%s\" is neither Worldwide nor a code of ISO 3166-1 such as DE", codes->item[i]);
}

static void
read_territories(ErnObject *object, ErnDeal *deal, const ErnDeal *otherwise)
{
	if (otherwise != NULL && !ern_has(object, "territories") && !ern_has(object, "excluded_territories"))
	{
		deal->territories = otherwise->territories;
		deal->excluded = otherwise->excluded;
		return;
	}
	deal->territories = ern_strings(object, "territories");
	deal->excluded = ern_strings(object, "excluded_territories");
	if (deal->territories.n > 0 && deal->excluded.n > 0)
		ern_problem(object, "territories", "and excluded_territories cannot both be given");
	check_territories(object, "territories", &deal->territories);
	check_territories(object, "excluded_territories", &deal->excluded);
}

/* A takedown ends each: at once, or when it would have begun */
static void
end_deal(const ErnMessage *message, ErnDeal *deal)
{
	if (message->takedown_at == NULL || deal->start == NULL)
		return;
	if (strncmp(message->takedown_at, deal->start, 10) < 0)
		deal->end = deal->start;
	else if (deal->end == NULL || strncmp(message->takedown_at, deal->end, 10) < 0)
		deal->end = message->takedown_at;
}

static void
read_deals(ErnObject *release, ErnObject *profile, ErnMessage *message)
{
	ErnDeal		common = {0};
	int			n;
	ErnObject  *from = ern_objects(release, "deals", ERN_MAX_LIST, &n);

	common.commercial_models = ern_strings(profile, "commercial_models");
	common.use_types = ern_strings(profile, "use_types");
	read_territories(release, &common, NULL);
	message->ndeals = Max(n, 1);
	message->deals = ern_array(ErnDeal, message->ndeals);
	for (int i = 0; i < message->ndeals; i++)
	{
		ErnObject  *object = n > 0 ? &from[i] : release;
		ErnDeal    *deal = &message->deals[i];

		*deal = common;
		deal->start = ern_check_time(object, "start", n > 0 ? ern_text(object, "start", message->release_date) : message->release_date);
		if (deal->start == NULL)
			ern_problem(object, "start", "is missing");
		if (n > 0)
		{
			deal->end = ern_check_time(object, "end", ern_text(object, "end", NULL));
			deal->pre_order = ern_bool(object, "pre_order", false);
			read_territories(object, deal, &common);
			if (ern_has(object, "commercial_models"))
				deal->commercial_models = ern_strings(object, "commercial_models");
			if (ern_has(object, "use_types"))
				deal->use_types = ern_strings(object, "use_types");
		}
		if (deal->commercial_models.n == 0 && message->kind != ERN_TAKEDOWN)
			ern_problem(object, "commercial_models", "is missing in the deal and in the profile");
		if (deal->use_types.n == 0 && message->kind != ERN_TAKEDOWN)
			ern_problem(object, "use_types", "is missing in the deal and in the profile");
		if (message->kind == ERN_TAKEDOWN && message->takedown == ERN_END_DATE)
			end_deal(message, deal);
	}
	if (message->kind == ERN_TAKEDOWN && message->takedown == ERN_NO_DEAL)
		message->ndeals = 0;
}

/* ---- the whole ---- */

void
ern_read_parties(ErnObject *profile, ErnMessage *message)
{
	ErnObject	sender = ern_object(profile, "sender");
	ErnObject	recipient = ern_object(profile, "recipient");
	ErnObject	owner = ern_object(profile, "on_behalf_of");

	message->sender = identifier(&sender, "dpid", MV_DPID, true);
	message->sender_name = ern_text(&sender, "name", NULL);
	message->recipient = identifier(&recipient, "dpid", MV_DPID, true);
	message->recipient_name = ern_text(&recipient, "name", NULL);
	message->on_behalf_of = owner.json == NULL ? NULL : identifier(&owner, "dpid", MV_DPID, true);
	message->on_behalf_of_name = ern_text(&owner, "name", NULL);
	message->created = ern_check_time(profile, "created", ern_need_text(profile, "created"));
	message->test = ern_bool(profile, "test", false);
}

static void
read_profile(ErnObject *profile, ErnMessage *message)
{
	static const char *const versions[] = {"4.3.2", "3.8.2", NULL};
	static const char *const kinds[] = {"insert", "update", "takedown", "purge", NULL};
	static const char *const takedowns[] = {"no_deal", "end_date", "take_down", NULL};
	const char *kind = ern_choice(profile, "kind", kinds, "insert");
	const char *takedown = ern_choice(profile, "takedown", takedowns, "no_deal");

	message->version = ern_choice(profile, "version", versions, "4.3.2") == versions[1] ? ERN_382 : ERN_432;
	while (kinds[message->kind] != kind)
		message->kind++;
	while (takedowns[message->takedown] != takedown)
		message->takedown++;
	if (message->kind == ERN_PURGE && message->version == ERN_382)
		ern_problem(profile, "kind", "cannot be purge in 3.8.2: send a takedown");
	if (message->takedown == ERN_TAKE_DOWN && message->version == ERN_432)
		ern_problem(profile, "takedown", "cannot be take_down in 4.3.2: use no_deal or end_date");
	ern_read_parties(profile, message);
	message->message_id = ern_need_text(profile, "message_id");
	message->thread_id = ern_text(profile, "thread_id", message->message_id);
	message->takedown_at = ern_check_time(profile, "takedown_at", ern_text(profile, "takedown_at", message->created));
	message->avs_version = ern_text(profile, "avs_version", "9");
	message->release_profile = ern_text(profile, "release_profile", NULL);
	message->hash_algorithm = ern_text(profile, "hash_algorithm", message->version == ERN_382 ? "MD5" : "SHA-256");
	message->resource_folder = ern_text(profile, "resource_folder", "resources/");
	message->backfill = ern_bool(profile, "backfill", false);
	message->resources = ern_bool(profile, "resources", message->kind == ERN_INSERT);
	message->validate = ern_bool(profile, "validate", true);
}

static void
read_release(ErnObject *release, ErnMessage *message)
{
	ErnLine		no_line = {0};

	message->title = ern_need_text(release, "title");
	message->version_title = ern_text(release, "version", NULL);
	message->full_title = full_title(message->title, message->version_title);
	message->language = ern_text(release, "language", "en");
	read_artists(release, NULL, &message->artists, &message->artist_name);
	message->label = ern_need_text(release, "label");
	message->genre = ern_need_text(release, "genre");
	message->subgenre = ern_text(release, "subgenre", NULL);
	message->p_line = read_line(release, "p_line", no_line);
	if (!ern_has(release, "p_line"))
		ern_problem(release, "p_line", "is missing");
	message->c_line = read_line(release, "c_line", no_line);
	message->explicit = read_explicit(release, "NotExplicit");
	message->contains_ai = ern_choice(release, "contains_ai", ai_values, NULL);
	message->release_date = ern_text(release, "release_date", NULL);
	ern_check_date(release, "release_date", message->release_date);
	message->original_release_date = ern_text(release, "original_release_date", message->release_date);
	if (ern_has(release, "original_release_date"))
		ern_check_date(release, "original_release_date", message->original_release_date);
}

ErnMessage *
ern_read(Jsonb *release, Jsonb *profile)
{
	ErnMessage *message = ern_array(ErnMessage, 1);
	ErnReader	reader = {.nproblems = 0};
	ErnObject	from = {&reader, JB_ROOT_IS_OBJECT(release) ? &release->root : NULL, ""};
	ErnObject	how = {&reader, JB_ROOT_IS_OBJECT(profile) ? &profile->root : NULL, "profile"};
	ErnObject	cover;

	initStringInfo(&reader.problems);
	if (from.json == NULL)
		ern_problem(&from, "release", "must be an object");
	if (how.json == NULL)
		ern_problem(&how, "", "must be an object");
	read_profile(&how, message);
	/* one of the two has to say which release it is */
	message->upc = identifier(&from, "upc", MV_GTIN, !ern_has(&from, "grid"));
	message->grid = identifier(&from, "grid", MV_GRID, false);
	message->catalog_number = ern_text(&from, "catalog_number", NULL);
	if (message->kind != ERN_PURGE)
	{
		read_release(&from, message);
		read_tracks(&from, message);
		if (message->contains_ai == NULL)
			message->contains_ai = sum_of_ai(message);
		message->type = ern_text(&from, "type", message->ntracks <= 3 ? "Single" : message->ntracks <= 6 ? "EP" : "Album");
		cover = ern_object(&from, "cover");
		message->has_cover = cover.json != NULL || message->resources;
		if (message->has_cover)
			read_file(&cover, message, &message->cover);
		message->cover_width = ern_number(&cover, "width", 1, 100000, 0);
		message->cover_height = ern_number(&cover, "height", 1, 100000, 0);
		message->cover_ai = ern_choice(&cover, "contains_ai", ai_values, NULL);
		read_deals(&from, &how, message);
		collect_parties(message);
	}
	ern_report(&reader, message->version == ERN_382 ? "an ERN 3.8.2 message" : "an ERN 4.3.2 message");
	return message;
}

void
ern_report(ErnReader *reader, const char *what)
{
	if (reader->nproblems == 0)
		return;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg_plural("%s cannot be made of this: %d problem", "%s cannot be made of this: %d problems",
						  reader->nproblems, what, reader->nproblems),
			errdetail("%s", pg_any_to_server(reader->problems.data, reader->problems.len, PG_UTF8)),
			errhint("The members of a release and of a profile are told in docs/ddex.md."));
}
