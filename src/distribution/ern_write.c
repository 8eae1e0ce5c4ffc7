/*
 * Writes messages: what both versions of ERN have in common, and the manifest
 * that completes a batch.
 *
 * Everything is allocated by libxml2 and nothing raises: the caller gets a
 * buffer to free, or NULL without memory.
 */
#include "postgres.h"

#include "distribution/ern_int.h"
#include "distribution/ern_writer.h"

void
w_duration(ErnWriter *w, const char *name, int seconds)
{
	char		text[32];

	if (seconds >= 3600)
		snprintf(text, sizeof(text), "PT%dH%dM%dS", seconds / 3600, seconds / 60 % 60, seconds % 60);
	else
		snprintf(text, sizeof(text), "PT%dM%dS", seconds / 60, seconds % 60);
	w_text(w, name, text);
}

static void
party(ErnWriter *w, const char *element, const char *dpid, const char *name)
{
	if (dpid == NULL)
		return;
	w_open(w, element);
	w_text(w, "PartyId", dpid);
	if (name != NULL)
	{
		w_open(w, "PartyName");
		w_text(w, "FullName", name);
		w_close(w);
	}
	w_close(w);
}

void
w_header(ErnWriter *w)
{
	const ErnMessage *message = w->message;

	w_open(w, "MessageHeader");
	w_text(w, "MessageThreadId", message->thread_id);
	w_text(w, "MessageId", message->message_id);
	party(w, "MessageSender", message->sender, message->sender_name);
	party(w, "SentOnBehalfOf", message->on_behalf_of, message->on_behalf_of_name);
	party(w, "MessageRecipient", message->recipient, message->recipient_name);
	w_text(w, "MessageCreatedDateTime", message->created);
	if (message->message_id != NULL)
		w_text(w, "MessageControlType", message->test ? "TestMessage" : "LiveMessage");
	w_close(w);
}

/* kind is PLine or CLine */
void
w_line(ErnWriter *w, const char *kind, const ErnLine *line)
{
	if (line->text == NULL)
		return;
	w_open(w, kind);
	w_text(w, "Year", line->year);
	w_text(w, *kind == 'P' ? "PLineText" : "CLineText", line->text);
	w_close(w);
}

void
w_strings(ErnWriter *w, const char *name, const ErnStrings *strings)
{
	for (int i = 0; i < strings->n; i++)
		w_text(w, name, strings->item[i]);
}

void
w_territories(ErnWriter *w, const ErnDeal *deal)
{
	w_strings(w, "TerritoryCode", &deal->territories);
	w_strings(w, "ExcludedTerritoryCode", &deal->excluded);
	if (deal->territories.n == 0 && deal->excluded.n == 0)
		w_text(w, "TerritoryCode", "Worldwide");
}

/* Of the sender, made of the release's own; no number for 0 */
void
w_proprietary_id(ErnWriter *w, const char *suffix, int number)
{
	const char *id = w->message->upc != NULL ? w->message->upc : w->message->grid;
	char		space[64];
	char		value[64];

	snprintf(space, sizeof(space), "DPID:%s", w->message->sender);
	if (number > 0)
		snprintf(value, sizeof(value), "%s_%s%d", id, suffix, number);
	else
		snprintf(value, sizeof(value), "%s_%s", id, suffix);
	w_text_with(w, "ProprietaryId", "Namespace", space, value);
}

void
w_sampling_rate(ErnWriter *w, int hertz)
{
	char		text[32];

	if (hertz == 0)
		return;
	if (hertz % 1000 == 0)
		snprintf(text, sizeof(text), "%d", hertz / 1000);
	else if (hertz % 100 == 0)
		snprintf(text, sizeof(text), "%d.%d", hertz / 1000, hertz / 100 % 10);
	else
		snprintf(text, sizeof(text), "%d.%03d", hertz / 1000, hertz % 1000);
	w_text_with(w, "SamplingRate", "UnitOfMeasure", "kHz", text);
}

void
w_pixels(ErnWriter *w, const char *name, int pixels)
{
	char		text[16];

	if (pixels == 0)
		return;
	snprintf(text, sizeof(text), "%d", pixels);
	w_text_with(w, name, "UnitOfMeasure", "Pixel", text);
}

/* The parts of a title, in an element that the caller has opened or NULL */
void
w_title(ErnWriter *w, const char *element, const char *title, const char *version)
{
	if (element != NULL)
		w_open(w, element);
	w_text(w, "TitleText", title);
	w_text(w, "SubTitle", version);
	if (element != NULL)
		w_close(w);
}

static void
open_message(ErnWriter *w, const char *name, const char *space)
{
	char		location[160];

	snprintf(location, sizeof(location), "%s %s/release-notification.xsd", space, space);
	w->failed |= xmlTextWriterStartElementNS(w->xml, BAD_CAST "ern", BAD_CAST name, BAD_CAST space) < 0;
	w->failed |= xmlTextWriterWriteAttributeNS(w->xml, BAD_CAST "xs", BAD_CAST "schemaLocation",
											   BAD_CAST "http://www.w3.org/2001/XMLSchema-instance", BAD_CAST location) < 0;
}

static void
write_release_message(ErnWriter *w)
{
	const ErnMessage *message = w->message;
	bool		single = message->ntracks == 1;

	if (message->version == ERN_382)
	{
		open_message(w, "NewReleaseMessage", "http://ddex.net/xml/ern/382");
		w_attribute(w, "MessageSchemaVersionId", "ern/382");
		w_attribute(w, "ReleaseProfileVersionId",
					message->release_profile ? message->release_profile :
					single ? "CommonReleaseTypesTypes/14/AudioSingle" : "CommonReleaseTypesTypes/14/AudioAlbumMusicOnly");
		w_attribute(w, "LanguageAndScriptCode", message->language);
		w_header(w);
		w_body_382(w);
	}
	else
	{
		open_message(w, message->kind == ERN_PURGE ? "PurgeReleaseMessage" : "NewReleaseMessage", "http://ddex.net/xml/ern/432");
		if (message->kind != ERN_PURGE)
			w_attribute(w, "ReleaseProfileVersionId", message->release_profile ? message->release_profile : "Audio");
		w_attribute(w, "LanguageAndScriptCode", message->language ? message->language : "en");
		w_attribute(w, "AvsVersionId", message->avs_version);
		w_header(w);
		w_body_432(w);
	}
	w_close(w);
}

xmlBufferPtr
w_start(ErnWriter *w)
{
	xmlBufferPtr buffer = xmlBufferCreateSize(64 * 1024);

	if (buffer == NULL)
		return NULL;
	w->xml = xmlNewTextWriterMemory(buffer, 0);
	if (w->xml == NULL)
	{
		xmlBufferFree(buffer);
		return NULL;
	}
	xmlTextWriterSetIndent(w->xml, 1);
	xmlTextWriterSetIndentString(w->xml, BAD_CAST "  ");
	w->failed |= xmlTextWriterStartDocument(w->xml, NULL, "UTF-8", NULL) < 0;
	return buffer;
}

xmlBufferPtr
w_finish(ErnWriter *w, xmlBufferPtr buffer)
{
	w->failed |= xmlTextWriterEndDocument(w->xml) < 0;
	xmlFreeTextWriter(w->xml);
	if (w->failed)
	{
		xmlBufferFree(buffer);
		return NULL;
	}
	return buffer;
}

xmlBufferPtr
ern_write(const ErnMessage *message)
{
	ErnWriter	w = {.message = message};
	xmlBufferPtr buffer = w_start(&w);

	if (buffer == NULL)
		return NULL;
	write_release_message(&w);
	return w_finish(&w, buffer);
}

static void
manifest_entry(ErnWriter *w, const ErnManifestEntry *entry)
{
	w_open(w, "MessageInBatch");
	w_text(w, "MessageType", entry->type);
	w_text(w, "MessageId", entry->message_id);
	w_text(w, "URL", entry->url);
	w_open(w, "IncludedReleaseId");
	w_text(w, entry->is_grid ? "GRid" : "ICPN", entry->release_id);
	w_close(w);
	w_text(w, "DeliveryType", entry->delivery);
	w_text(w, "ProductType", "AudioProduct");
	if (entry->hash != NULL)
	{
		w_open(w, "HashSum");
		w_text(w, "HashSumValue", entry->hash);
		w_text(w, "HashSumAlgorithmType", w->message->hash_algorithm);
		w_close(w);
	}
	w_close(w);
}

xmlBufferPtr
ern_write_manifest(const ErnMessage *message, const char *space, const char *root, const ErnManifestEntry *entries, int nentries)
{
	ErnWriter	w = {.message = message};
	xmlBufferPtr buffer = w_start(&w);
	const char *revision = strrchr(space, '/');
	char		version[32];

	if (buffer == NULL)
		return NULL;
	/* the namespace ends with the version's digits: 17 is 1.7 */
	snprintf(version, sizeof(version), "%.1s.%.8s", revision + 1, revision[1] == '\0' ? "" : revision + 2);
	w.failed |= xmlTextWriterStartElementNS(w.xml, BAD_CAST "echo", BAD_CAST "ManifestMessage", BAD_CAST space) < 0;
	w_attribute(&w, "MessageVersionId", version);
	w_header(&w);
	w_text(&w, "IsTestFlag", message->test ? "true" : "false");
	w_text(&w, "RootDirectory", root);
	w_number(&w, "NumberOfMessages", nentries);
	for (int i = 0; i < nentries; i++)
		manifest_entry(&w, &entries[i]);
	w_close(&w);
	return w_finish(&w, buffer);
}
