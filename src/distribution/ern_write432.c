/*
 * The body of an ERN 4.3.2 message, profile Audio.
 *
 * References: P1.. the parties (the label is the last), A1.. the recordings in
 * order and then the cover, T1.. their files, R0 the release, R1.. its tracks.
 * What is told of everywhere is told with ApplicableTerritoryCode Worldwide.
 * A track's release has an id of the sender's own, never an ISRC.
 */
#include "postgres.h"

#include "distribution/ern_writer.h"

static void
open_worldwide(ErnWriter *w, const char *name)
{
	w_open(w, name);
	w_attribute(w, "ApplicableTerritoryCode", "Worldwide");
	w_attribute(w, "IsDefault", "true");
}

static void
worldwide(ErnWriter *w, const char *name, const char *value)
{
	if (value == NULL)
		return;
	open_worldwide(w, name);
	w_content(w, value);
	w_close(w);
}

static void
sequence(ErnWriter *w, int number)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", number);
	w_attribute(w, "SequenceNumber", text);
}

/* ---- parties ---- */

static void
party(ErnWriter *w, int number, const ErnCredit *who)
{
	w_open(w, "Party");
	w_reference(w, "PartyReference", 'P', number);
	w_open(w, "PartyName");
	w_text(w, "FullName", who->name);
	w_text(w, "FullNameIndexed", who->sort_name);
	w_close(w);
	if (who->isni != NULL || who->ipi != NULL)
	{
		w_open(w, "PartyId");
		w_text(w, "ISNI", who->isni);
		w_text(w, "IpiNameNumber", who->ipi);
		w_close(w);
	}
	w_close(w);
}

static void
titles(ErnWriter *w, const char *full_title, const char *title, const char *version)
{
	worldwide(w, "DisplayTitleText", full_title);
	open_worldwide(w, "DisplayTitle");
	w_title(w, NULL, title, version);
	w_close(w);
}

static void
artists(ErnWriter *w, const char *name, const ErnCredits *credits)
{
	worldwide(w, "DisplayArtistName", name);
	for (int i = 0; i < credits->n; i++)
	{
		w_open(w, "DisplayArtist");
		sequence(w, i + 1);
		w_reference(w, "ArtistPartyReference", 'P', credits->item[i].party + 1);
		w_text(w, "DisplayArtistRole", credits->item[i].role);
		w_close(w);
	}
}

static void
contributors(ErnWriter *w, const ErnCredits *credits)
{
	for (int i = 0; i < credits->n; i++)
	{
		const ErnCredit *credit = &credits->item[i];

		w_open(w, "Contributor");
		sequence(w, i + 1);
		if (credit->name != NULL)
			w_reference(w, "ContributorPartyReference", 'P', credit->party + 1);
		else
			w_text(w, "SpecialContributor", "GenerativeAI");
		w_open(w, "Role");
		/* what everybody calls a producer is called so here */
		w_text(w, "Value", strcmp(credit->role, "Producer") == 0 ? "StudioProducer" : credit->role);
		w_close(w);
		w_text(w, "AiContribution", credit->ai);
		w_close(w);
	}
}

static void
genre(ErnWriter *w, const char *text, const char *subgenre)
{
	open_worldwide(w, "DisplayGenre");
	w_text(w, "GenreText", text);
	w_text(w, "SubGenre", subgenre);
	w_close(w);
}

/* ---- resources ---- */

static void
file(ErnWriter *w, const ErnFile *from)
{
	w_open(w, "File");
	w_open(w, "URI");
	w_content(w, w->message->resource_folder);
	w_content(w, from->name);
	w_close(w);
	if (from->hash != NULL)
	{
		w_open(w, "HashSum");
		w_text(w, "Algorithm", w->message->hash_algorithm);
		w_text(w, "HashSumValue", from->hash);
		w_close(w);
	}
	if (from->size > 0)
		w_number(w, "FileSize", from->size);
	w_close(w);
}

static void
audio_details(ErnWriter *w, int number, const ErnTrack *track)
{
	char		channels[16];

	if (track->file.name == NULL)
		return;
	snprintf(channels, sizeof(channels), "%d", track->channels);
	w_open(w, "TechnicalDetails");
	w_reference(w, "TechnicalResourceDetailsReference", 'T', number);
	w_open(w, "DeliveryFile");
	w_text(w, "Type", "AudioFile");
	w_text(w, "AudioCodecType", track->file.codec);
	w_text(w, "NumberOfChannels", track->channels > 0 ? channels : NULL);
	w_sampling_rate(w, track->sample_rate);
	if (track->bits > 0)
		w_number(w, "BitsPerSample", track->bits);
	file(w, &track->file);
	w_text(w, "IsProvidedInDelivery", "true");
	w_close(w);
	w_close(w);
}

static void
sound_recording(ErnWriter *w, int number, const ErnTrack *track)
{
	w_open(w, "SoundRecording");
	w_reference(w, "ResourceReference", 'A', number);
	w_text(w, "Type", "MusicalWorkSoundRecording");
	w_open(w, "SoundRecordingEdition");
	w_open(w, "ResourceId");
	w_text(w, "ISRC", track->isrc);
	w_close(w);
	w_line(w, "PLine", &track->p_line);
	if (track->channels == 1 || track->channels == 2)
		w_text(w, "RecordingMode", track->channels == 2 ? "Stereo" : "Mono");
	audio_details(w, number, track);
	w_close(w);
	if (track->iswc != NULL)
	{
		w_open(w, "WorkId");
		w_text(w, "ISWC", track->iswc);
		w_close(w);
	}
	titles(w, track->full_title, track->title, track->version);
	artists(w, track->artist_name, &track->artists);
	contributors(w, &track->contributors);
	w_duration(w, "Duration", track->seconds);
	worldwide(w, "FirstPublicationDate", track->first_published);
	worldwide(w, "ParentalWarningType", track->explicit);
	w_text(w, "ContainsAI", track->contains_ai);
	if (track->instrumental >= 0)
		w_text(w, "IsInstrumental", track->instrumental ? "true" : "false");
	w_text(w, "LanguageOfPerformance", track->language);
	w_close(w);
}

static void
cover(ErnWriter *w, int number)
{
	const ErnMessage *message = w->message;

	if (!message->has_cover)
		return;
	w_open(w, "Image");
	w_reference(w, "ResourceReference", 'A', number);
	w_text(w, "Type", "FrontCoverImage");
	w_open(w, "ResourceId");
	w_proprietary_id(w, "IMG", 0);
	w_close(w);
	worldwide(w, "ParentalWarningType", "NotExplicit");
	w_text(w, "ContainsAI", message->cover_ai);
	if (message->cover.name != NULL)
	{
		w_open(w, "TechnicalDetails");
		w_reference(w, "TechnicalResourceDetailsReference", 'T', number);
		w_text(w, "ImageCodecType", message->cover.codec);
		w_pixels(w, "ImageHeight", message->cover_height);
		w_pixels(w, "ImageWidth", message->cover_width);
		file(w, &message->cover);
		w_text(w, "IsProvidedInDelivery", "true");
		w_close(w);
	}
	w_close(w);
}

/* ---- releases ---- */

static void
release_id(ErnWriter *w)
{
	const ErnMessage *message = w->message;
	char		space[64];

	snprintf(space, sizeof(space), "DPID:%s", message->sender);
	w_open(w, "ReleaseId");
	w_text(w, "GRid", message->grid);
	w_text(w, "ICPN", message->upc);
	w_text_with(w, "CatalogNumber", "Namespace", space, message->catalog_number);
	w_close(w);
}

static void
content_items(ErnWriter *w, int disc)
{
	int			number = 0;

	for (int i = 0; i < w->message->ntracks; i++)
		if (disc == 0 || w->message->tracks[i].disc == disc)
		{
			w_open(w, "ResourceGroupContentItem");
			w_number(w, "SequenceNumber", ++number);
			w_reference(w, "ReleaseResourceReference", 'A', i + 1);
			w_close(w);
		}
}

static void
resource_group(ErnWriter *w)
{
	const ErnMessage *message = w->message;

	w_open(w, "ResourceGroup");
	w_text(w, "SequenceNumber", "1");
	for (int disc = 1; message->ndiscs > 1 && disc <= message->ndiscs; disc++)
	{
		w_open(w, "ResourceGroup");
		w_attribute(w, "ResourceGroupType", "Component");
		w_number(w, "SequenceNumber", disc);
		content_items(w, disc);
		w_close(w);
	}
	if (message->ndiscs == 1)
		content_items(w, 0);
	if (message->has_cover)
	{
		char		reference[16];

		snprintf(reference, sizeof(reference), "A%d", message->ntracks + 1);
		w_text_with(w, "LinkedReleaseResourceReference", "LinkDescription", "CoverArt", reference);
	}
	w_close(w);
}

static void
main_release(ErnWriter *w)
{
	const ErnMessage *message = w->message;
	char		label[16];

	snprintf(label, sizeof(label), "P%d", message->nparties);
	w_open(w, "Release");
	w_text(w, "ReleaseReference", "R0");
	w_text(w, "ReleaseType", message->type);
	release_id(w);
	titles(w, message->full_title, message->title, message->version_title);
	artists(w, message->artist_name, &message->artists);
	worldwide(w, "ReleaseLabelReference", label);
	w_line(w, "PLine", &message->p_line);
	w_line(w, "CLine", &message->c_line);
	w_duration(w, "Duration", message->seconds);
	genre(w, message->genre, message->subgenre);
	worldwide(w, "ReleaseDate", message->release_date);
	worldwide(w, "OriginalReleaseDate", message->original_release_date);
	worldwide(w, "ParentalWarningType", message->explicit);
	resource_group(w);
	w_text(w, "ContainsAI", message->contains_ai);
	w_close(w);
}

static void
track_release(ErnWriter *w, int number, const ErnTrack *track)
{
	w_open(w, "TrackRelease");
	w_reference(w, "ReleaseReference", 'R', number);
	w_open(w, "ReleaseId");
	w_proprietary_id(w, "TR", number);
	w_close(w);
	w_reference(w, "ReleaseResourceReference", 'A', number);
	w_reference(w, "ReleaseLabelReference", 'P', w->message->nparties);
	genre(w, track->genre, track->subgenre);
	w_close(w);
}

/* ---- deals ---- */

static void
deal(ErnWriter *w, const ErnDeal *from)
{
	w_open(w, "Deal");
	w_open(w, "DealTerms");
	w_territories(w, from);
	w_open(w, "ValidityPeriod");
	w_text(w, "StartDateTime", from->start);
	w_text(w, "EndDateTime", from->end);
	w_close(w);
	w_strings(w, "CommercialModelType", &from->commercial_models);
	w_strings(w, "UseType", &from->use_types);
	w_text(w, "IsPreOrderDeal", from->pre_order ? "true" : NULL);
	w_close(w);
	w_close(w);
}

static void
deal_list(ErnWriter *w)
{
	const ErnMessage *message = w->message;

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

void
w_body_432(ErnWriter *w)
{
	const ErnMessage *message = w->message;

	if (message->kind == ERN_PURGE)
	{
		w_open(w, "PurgedRelease");
		release_id(w);
		w_close(w);
		return;
	}
	w_open(w, "PartyList");
	for (int i = 0; i < message->nparties; i++)
		party(w, i + 1, message->parties[i]);
	w_close(w);
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
	deal_list(w);
}
