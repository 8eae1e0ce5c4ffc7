/*
 * Reads what partners answer. There are several choreographies in several
 * versions, each with a namespace of its own, and partners who write none: so
 * elements are known by their local names, wherever they stand.
 *
 * An element that has a ReleaseId of its own and tells a status is one release;
 * without any, the answer as a whole is. In it
 *   MessageId outside of MessageHeader       what is answered
 *   ICPN, GRid, ISRC, ProprietaryId, CatalogNumber in a ReleaseId  the release
 *   ReleaseStatus                            where it is with the partner
 *   MessageStatus/Status, FileStatus         what became of the file
 *   ProposedActionType, ProposedAction       what to do
 *   ErrorText, ErrorDescription, StatusText, Comment, Description  the reason
 *
 * Allocates by libxml2 only and never raises.
 */
#include "postgres.h"

#include "distribution/ern_ack.h"

#define MAX_COPIES 8

/* The strings that had to be put together, freed after the row was taken */
typedef struct Copies
{
	int			n;
	xmlChar    *item[MAX_COPIES];
} Copies;

static const char *
content(const xmlNode *node, Copies *copies)
{
	xmlChar    *copy;
	const char *text = ern_content(node, &copy);

	if (copy == NULL)
		return text;
	if (copies->n == MAX_COPIES)
	{
		xmlFree(copy);
		return NULL;
	}
	copies->item[copies->n++] = copy;
	return text;
}

/* The next element in document order within top, not into the one passed by */
static xmlNodePtr
following(xmlNodePtr node, const xmlNode *top, bool into)
{
	xmlNodePtr	next = into ? ern_first(node) : NULL;

	while (next == NULL && node != top)
	{
		next = ern_next(node);
		node = node->parent;
	}
	return next;
}

static bool
is_any(const xmlNode *node, const char *const names[])
{
	for (int i = 0; names[i] != NULL; i++)
		if (ern_is(node, names[i]))
			return true;
	return false;
}

/* The text of the first element of these names that has any, outside of the header */
static const char *
find(xmlNodePtr top, const char *const names[], Copies *copies)
{
	for (xmlNodePtr node = top; node != NULL; node = following(node, top, !ern_is(node, "MessageHeader")))
		if (is_any(node, names))
		{
			const char *text = content(node, copies);

			if (text != NULL)
				return text;
		}
	return NULL;
}

static const char *
find_release(xmlNodePtr top, Copies *copies)
{
	static const char *const ids[] = {"ICPN", "GRid", "ISRC", "ProprietaryId", "CatalogNumber", NULL};

	for (xmlNodePtr node = top; node != NULL; node = following(node, top, !ern_is(node, "MessageHeader")))
		if (ern_is(node, "ReleaseId"))
		{
			const char *text = content(node, copies);

			return text != NULL ? text : find(node, ids, copies);
		}
	return NULL;
}

/* A Status is the file's only where it stands in a MessageStatus or FileStatus */
static const char *
find_file_status(xmlNodePtr top, Copies *copies)
{
	static const char *const holders[] = {"FileStatus", "MessageStatus", NULL};
	static const char *const names[] = {"Status", "FileStatus", "MessageStatus", NULL};

	for (xmlNodePtr node = top; node != NULL; node = following(node, top, !ern_is(node, "MessageHeader")))
		if (is_any(node, holders))
			return find(node, names, copies);
	return NULL;
}

static bool
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* White space around a value is no part of it */
static bool
is_value(const char *text, const char *value)
{
	text += strspn(text, " \t\r\n");
	return begins(text, value) && text[strlen(value) + strspn(text + strlen(value), " \t\r\n")] == '\0';
}

static const char *
judge(const char *release_status, const char *file_status)
{
	static const char *const meanings[][2] = {
		{"InPreparation", "pending"}, {"InDelivery", "pending"}, {"OrderPlaced", "pending"},
		{"Delivered", "processing"}, {"Received", "processing"}, {"ReleaseReceived", "processing"},
		{"Ingested", "processing"}, {"SuccessfullyIngested", "processing"}, {"Staged", "processing"}, {"ReleaseStaged", "processing"},
		{"ReleaseMadeAvailableToConsumers", "live"},
		{"ProcessingError", "failed"}, {"RightsConflict", "failed"}, {"ReleaseViolatesTermsOfService", "failed"}
	};
	const char *status = NULL;

	if (file_status != NULL && !is_value(file_status, "FileOK"))
		return "failed";
	if (release_status == NULL)
		return file_status != NULL ? "processing" : NULL;
	release_status += strspn(release_status, " \t\r\n");
	for (int i = 0; status == NULL && i < lengthof(meanings); i++)
		if (begins(release_status, meanings[i][0]))
			status = meanings[i][1];
	return status;
}

static bool
tell(xmlNodePtr top, const char *acknowledgement_id, ErnAckTaker take, void *arg)
{
	static const char *const message_ids[] = {"MessageId", NULL};
	static const char *const statuses[] = {"ReleaseStatus", NULL};
	static const char *const actions[] = {"ProposedActionType", "ProposedAction", NULL};
	static const char *const texts[] = {"ErrorText", "ErrorDescription", "StatusText", "Comment", "Description", NULL};
	Copies		copies = {0};
	ErnAckRow	row;
	bool		taken;

	row.acknowledgement_id = acknowledgement_id;
	row.message_id = find(top, message_ids, &copies);
	row.release_id = find_release(top, &copies);
	row.release_status = find(top, statuses, &copies);
	row.file_status = find_file_status(top, &copies);
	row.action = find(top, actions, &copies);
	row.text = find(top, texts, &copies);
	row.status = judge(row.release_status, row.file_status);
	taken = take(&row, arg);
	for (int i = 0; i < copies.n; i++)
		xmlFree(copies.item[i]);
	return taken;
}

static bool
is_record(xmlNodePtr node)
{
	static const char *const statuses[] = {"ReleaseStatus", "Status", "FileStatus", "MessageStatus", NULL};
	bool		has_id = false;

	for (xmlNodePtr child = ern_first(node); child != NULL; child = ern_next(child))
		has_id |= ern_is(child, "ReleaseId");
	if (!has_id)
		return false;
	for (xmlNodePtr inner = ern_first(node); inner != NULL; inner = following(inner, node, true))
		if (is_any(inner, statuses))
			return true;
	return false;
}

bool
ern_read_ack(xmlDocPtr document, ErnAckTaker take, void *arg)
{
	xmlNodePtr	root = xmlDocGetRootElement(document);
	xmlNodePtr	header;
	Copies		copies = {0};
	const char *id = NULL;
	int			records = 0;
	bool		good = true;

	for (header = ern_first(root); header != NULL && !ern_is(header, "MessageHeader");)
		header = ern_next(header);
	for (xmlNodePtr node = header == NULL ? NULL : ern_first(header); node != NULL && id == NULL; node = ern_next(node))
		if (ern_is(node, "MessageId"))
			id = content(node, &copies);
	for (xmlNodePtr node = ern_first(root); node != NULL && good; node = ern_next(node))
		if (is_record(node))
		{
			good = tell(node, id, take, arg);
			records++;
		}
	if (records == 0 && good)
		good = tell(root, id, take, arg);
	for (int i = 0; i < copies.n; i++)
		xmlFree(copies.item[i]);
	return good;
}
