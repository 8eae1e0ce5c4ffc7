/*
 * The body of an ERN 3.8.2 message, profiles AudioAlbumMusicOnly and
 * AudioSingle of the Common Release Types.
 *
 * References as in 4.3.2 but for parties, which are told in place. Details are
 * told for all territories; only deals differ by them. What the standard of
 * 2016 has no word for goes as near as it comes: a role as UserDefined, a hash
 * of SHA-2 as UserDefined, IsComputerGenerated for a recording that is all AI.
 */
#include "postgres.h"

#include "distribution/ern_writer.h"

static bool
is_one_of(const char *value, const char *const values[])
{
	for (int i = 0; values[i] != NULL; i++)
		if (strcmp(value, values[i]) == 0)
			return true;
	return false;
}

/* A value of an allowed set, or UserDefined in the sender's namespace */
static void
allowed(ErnWriter *w, const char *name, const char *value, const char *const values[])
{
	if (is_one_of(value, values))
		w_text(w, name, value);
	else
	{
		char		space[64];

		snprintf(space, sizeof(space), "DPID:%s", w->message->sender);
		w_open(w, name);
		w_attribute(w, "Namespace", space);
		w_attribute(w, "UserDefinedValue", value);
		w_content(w, "UserDefined");
		w_close(w);
	}
}

static void
open_numbered(ErnWriter *w, const char *name, int number)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", number);
	w_open(w, name);
	w_attribute(w, "SequenceNumber", text);
}

static void
party(ErnWriter *w, const ErnCredit *who)
{
	w_open(w, "PartyName");
	w_text(w, "FullName", who->name == NULL ? "Generative AI" : who->name);
	w_text(w, "FullNameIndexed", who->sort_name);
	w_close(w);
	w_text_with(w, "PartyId", "IsISNI", "true", who->isni);
}

static void
artists(ErnWriter *w, const ErnCredits *credits)
{
	for (int i = 0; i < credits->n; i++)
	{
		open_numbered(w, "DisplayArtist", i + 1);
		party(w, &credits->item[i]);
		w_text(w, "ArtistRole", credits->item[i].role);
		w_close(w);
	}
}

/* Who wrote the work comes second, under another name */
static void
contributors(ErnWriter *w, const ErnCredits *credits)
{
	static const char *const of_work[] = {
		"Adapter", "Arranger", "Author", "Composer", "ComposerLyricist", "Librettist", "Lyricist", "MusicPublisher",
		"NonLyricAuthor", "OriginalPublisher", "SubArranger", "SubLyricist", "SubPublisher", "SubstitutedPublisher", "Translator", NULL
	};
	static const char *const of_recording[] = {
		"Artist", "AssociatedPerformer", "Band", "Choir", "ComputerGraphicCreator", "Conductor", "Contributor", "Designer",
		"Dubber", "Encoder", "Ensemble", "FeaturedArtist", "FilmDirector", "FilmProducer", "FilmSoundEngineer", "GraphicArtist",
		"GraphicDesigner", "MainArtist", "Member", "MusicDirector", "Narrator", "Orchestra", "Painter", "Photographer",
		"PlaybackSinger", "PrimaryMusician", "Producer", "Programmer", "RightsControllerOnProduct", "Soloist", "StudioPersonnel",
		"Unknown", "VoiceActor", NULL
	};

	for (int second = 0; second <= 1; second++)
		for (int i = 0, number = 0; i < credits->n; i++)
		{
			const ErnCredit *credit = &credits->item[i];
			const char *role = strcmp(credit->role, "StudioProducer") == 0 ? "Producer" : credit->role;

			if (is_one_of(role, of_work) != second)
				continue;
			open_numbered(w, second ? "IndirectResourceContributor" : "ResourceContributor", ++number);
			party(w, credit);
			if (second)
				w_text(w, "IndirectResourceContributorRole", role);
			else
				allowed(w, "ResourceContributorRole", role, of_recording);
			w_close(w);
		}
}

static void
title(ErnWriter *w, const char *type, const char *text, const char *version)
{
	w_open(w, "Title");
	w_attribute(w, "TitleType", type);
	w_title(w, NULL, text, version);
	w_close(w);
}

static void
genre(ErnWriter *w, const char *text, const char *subgenre)
{
	w_open(w, "Genre");
	w_text(w, "GenreText", text);
	w_text(w, "SubGenre", subgenre);
	w_close(w);
}

/* ---- resources ---- */

static void
file(ErnWriter *w, const ErnFile *from)
{
	static const char *const algorithms[] = {"MD4", "MD5", "SHA", "SHA1", NULL};

	w_open(w, "File");
	w_text(w, "FileName", from->name);
	w_text(w, "FilePath", w->message->resource_folder);
	if (from->hash != NULL)
	{
		w_open(w, "HashSum");
		w_text(w, "HashSum", from->hash);
		allowed(w, "HashSumAlgorithmType", w->message->hash_algorithm, algorithms);
		w_close(w);
	}
	w_close(w);
}

static void
audio_details(ErnWriter *w, int number, const ErnTrack *track)
{
	if (track->file.name == NULL)
		return;
	w_open(w, "TechnicalSoundRecordingDetails");
	w_reference(w, "TechnicalResourceDetailsReference", 'T', number);
	w_text(w, "AudioCodecType", track->file.codec);
	if (track->channels > 0)
		w_number(w, "NumberOfChannels", track->channels);
	w_sampling_rate(w, track->sample_rate);
	if (track->bits > 0)
		w_number(w, "BitsPerSample", track->bits);
	file(w, &track->file);
	w_close(w);
}

static void
sound_recording(ErnWriter *w, int number, const ErnTrack *track)
{
	w_open(w, "SoundRecording");
	w_text(w, "SoundRecordingType", "MusicalWorkSoundRecording");
	w_open(w, "SoundRecordingId");
	w_text(w, "ISRC", track->isrc);
	w_close(w);
	if (track->iswc != NULL)
	{
		w_open(w, "IndirectSoundRecordingId");
		w_text(w, "ISWC", track->iswc);
		w_close(w);
	}
	w_reference(w, "ResourceReference", 'A', number);
	w_title(w, "ReferenceTitle", track->title, track->version);
	if (track->instrumental >= 0)
		w_text(w, "IsInstrumental", track->instrumental ? "true" : "false");
	if (track->contains_ai != NULL && strcmp(track->contains_ai, "All") == 0)
		w_text(w, "IsComputerGenerated", "true");
	w_text(w, "LanguageOfPerformance", track->language);
	w_duration(w, "Duration", track->seconds);
	w_open(w, "SoundRecordingDetailsByTerritory");
	w_text(w, "TerritoryCode", "Worldwide");
	title(w, "FormalTitle", track->title, track->version);
	title(w, "DisplayTitle", track->title, track->version);
	artists(w, &track->artists);
	contributors(w, &track->contributors);
	w_text(w, "DisplayArtistName", track->artist_name);
	w_text(w, "LabelName", w->message->label);
	w_text(w, "ResourceReleaseDate", track->first_published);
	w_line(w, "PLine", &track->p_line);
	genre(w, track->genre, track->subgenre);
	w_text(w, "ParentalWarningType", track->explicit);
	audio_details(w, number, track);
	w_close(w);
	w_close(w);
}

static void
cover(ErnWriter *w, int number)
{
	const ErnMessage *message = w->message;

	if (!message->has_cover)
		return;
	w_open(w, "Image");
	w_text(w, "ImageType", "FrontCoverImage");
	w_open(w, "ImageId");
	w_proprietary_id(w, "IMG", 0);
	w_close(w);
	w_reference(w, "ResourceReference", 'A', number);
	w_open(w, "ImageDetailsByTerritory");
	w_text(w, "TerritoryCode", "Worldwide");
	w_text(w, "ParentalWarningType", "NotExplicit");
	if (message->cover.name != NULL)
	{
		w_open(w, "TechnicalImageDetails");
		w_reference(w, "TechnicalResourceDetailsReference", 'T', number);
		w_text(w, "ImageCodecType", message->cover.codec);
		w_pixels(w, "ImageHeight", message->cover_height);
		w_pixels(w, "ImageWidth", message->cover_width);
		file(w, &message->cover);
		w_close(w);
	}
	w_close(w);
	w_close(w);
}

/* ---- releases ---- */

static void
resource_reference(ErnWriter *w, int number, bool primary)
{
	char		reference[16];

	snprintf(reference, sizeof(reference), "A%d", number);
	w_text_with(w, "ReleaseResourceReference", "ReleaseResourceType", primary ? "PrimaryResource" : "SecondaryResource", reference);
}

static void
content_item(ErnWriter *w, int sequence, int number, bool primary)
{
	w_open(w, "ResourceGroupContentItem");
	if (sequence > 0)
		w_number(w, "SequenceNumber", sequence);
	w_text(w, "ResourceType", primary ? "SoundRecording" : "Image");
	resource_reference(w, number, primary);
	w_close(w);
}

/* A group for each disc, and the cover beside them */
static void
resource_groups(ErnWriter *w)
{
	const ErnMessage *message = w->message;

	w_open(w, "ResourceGroup");
	for (int disc = 1; disc <= message->ndiscs; disc++)
	{
		int			sequence = 0;

		w_open(w, "ResourceGroup");
		w_open(w, "Title");
		w_attribute(w, "TitleType", "GroupingTitle");
		w_open(w, "TitleText");
		w_content(w, "Component ");
		w->failed |= xmlTextWriterWriteFormatString(w->xml, "%d", disc) < 0;
		w_close(w);
		w_close(w);
		w_number(w, "SequenceNumber", disc);
		for (int i = 0; i < message->ntracks; i++)
			if (message->tracks[i].disc == disc)
				content_item(w, ++sequence, i + 1, true);
		w_close(w);
	}
	if (message->has_cover)
		content_item(w, 0, message->ntracks + 1, false);
	w_close(w);
}

static void
main_release(ErnWriter *w)
{
	const ErnMessage *message = w->message;
	char		space[64];

	snprintf(space, sizeof(space), "DPID:%s", message->sender);
	w_open(w, "Release");
	w_attribute(w, "IsMainRelease", "true");
	w_open(w, "ReleaseId");
	w_text(w, "GRid", message->grid);
	w_text_with(w, "ICPN", "IsEan", message->upc != NULL && strlen(message->upc) == 13 ? "true" : "false", message->upc);
	w_text_with(w, "CatalogNumber", "Namespace", space, message->catalog_number);
	w_close(w);
	w_text(w, "ReleaseReference", "R0");
	w_title(w, "ReferenceTitle", message->title, message->version_title);
	w_open(w, "ReleaseResourceReferenceList");
	for (int i = 0; i < message->ntracks; i++)
		resource_reference(w, i + 1, true);
	if (message->has_cover)
		resource_reference(w, message->ntracks + 1, false);
	w_close(w);
	w_text(w, "ReleaseType", message->type);
	w_open(w, "ReleaseDetailsByTerritory");
	w_text(w, "TerritoryCode", "Worldwide");
	w_text(w, "DisplayArtistName", message->artist_name);
	w_text(w, "LabelName", message->label);
	title(w, "FormalTitle", message->title, message->version_title);
	title(w, "DisplayTitle", message->title, message->version_title);
	artists(w, &message->artists);
	w_text(w, "ParentalWarningType", message->explicit);
	resource_groups(w);
	genre(w, message->genre, message->subgenre);
	w_text(w, "ReleaseDate", message->release_date);
	w_text(w, "OriginalReleaseDate", message->original_release_date);
	w_close(w);
	w_duration(w, "Duration", message->seconds);
	w_line(w, "PLine", &message->p_line);
	w_line(w, "CLine", &message->c_line);
	w_text(w, "GlobalReleaseDate", message->release_date);
	w_text(w, "GlobalOriginalReleaseDate", message->original_release_date);
	w_close(w);
}

static void
track_release(ErnWriter *w, int number, const ErnTrack *track)
{
	w_open(w, "Release");
	w_open(w, "ReleaseId");
	w_text(w, "ISRC", track->isrc);
	w_close(w);
	w_reference(w, "ReleaseReference", 'R', number);
	w_title(w, "ReferenceTitle", track->title, track->version);
	w_open(w, "ReleaseResourceReferenceList");
	resource_reference(w, number, true);
	w_close(w);
	w_text(w, "ReleaseType", "TrackRelease");
	w_open(w, "ReleaseDetailsByTerritory");
	w_text(w, "TerritoryCode", "Worldwide");
	w_text(w, "DisplayArtistName", track->artist_name);
	w_text(w, "LabelName", w->message->label);
	title(w, "FormalTitle", track->title, track->version);
	title(w, "DisplayTitle", track->title, track->version);
	artists(w, &track->artists);
	w_text(w, "ParentalWarningType", track->explicit);
	w_open(w, "ResourceGroup");
	content_item(w, 1, number, true);
	w_close(w);
	genre(w, track->genre, track->subgenre);
	w_text(w, "ReleaseDate", w->message->release_date);
	w_close(w);
	w_duration(w, "Duration", track->seconds);
	w_line(w, "PLine", &track->p_line);
	w_line(w, "CLine", &w->message->c_line);
	w_close(w);
}

/* ---- deals ---- */

static void
deal(ErnWriter *w, const ErnDeal *from)
{
	const ErnMessage *message = w->message;
	bool		take_down = message->kind == ERN_TAKEDOWN && message->takedown == ERN_TAKE_DOWN;

	w_open(w, "Deal");
	w_open(w, "DealTerms");
	if (take_down)
		w_text(w, "TakeDown", "true");
	else
	{
		w_text(w, "IsPreOrderDeal", from->pre_order ? "true" : NULL);
		w_strings(w, "CommercialModelType", &from->commercial_models);
		w_open(w, "Usage");
		w_strings(w, "UseType", &from->use_types);
		w_close(w);
	}
	w_territories(w, from);
	w_open(w, "ValidityPeriod");
	w_text(w, "StartDateTime", take_down ? message->takedown_at : from->start);
	w_text(w, "EndDateTime", take_down ? NULL : from->end);
	w_close(w);
	if (!take_down && from->pre_order)
		w_text(w, "PreOrderReleaseDate", message->release_date);
	w_close(w);
	w_close(w);
}

void
w_body_382(ErnWriter *w)
{
	const ErnMessage *message = w->message;

	w_text(w, "UpdateIndicator", message->kind == ERN_INSERT ? "OriginalMessage" : "UpdateMessage");
	w_text(w, "IsBackfill", message->backfill ? "true" : NULL);
	w_open(w, "ResourceList");
	for (int i = 0; i < message->ntracks; i++)
		sound_recording(w, i + 1, &message->tracks[i]);
	cover(w, message->ntracks + 1);
	w_close(w);
	w_open(w, "ReleaseList");
	main_release(w);
	for (int i = 0; i < message->ntracks; i++)
		track_release(w, i + 1, &message->tracks[i]);
	w_close(w);
	if (message->ndeals == 0)
		return;
	w_open(w, "DealList");
	w_open(w, "ReleaseDeal");
	for (int i = 0; i <= message->ntracks; i++)
		w_reference(w, "DealReleaseReference", 'R', i);
	for (int i = 0; i < message->ndeals; i++)
		deal(w, &message->deals[i]);
	w_close(w);
	w_close(w);
}
