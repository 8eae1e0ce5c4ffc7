/* What partners answer: any bytes are read or refused, and all memory comes back. */
#include "../../src/distribution/ern_xml.c"
#include "../../src/distribution/ern_ack.c"

#include "fuzz.h"
#include "mb/pg_wchar.h"

static bool
take(const ErnAckRow *row, void *arg)
{
	const char *strings[] = {
		row->acknowledgement_id, row->message_id, row->release_id, row->release_status, row->file_status, row->action, row->text
	};

	for (int i = 0; i < lengthof(strings); i++)
		if (strings[i] != NULL)
		{
			must(pg_encoding_verifymbstr(PG_UTF8, strings[i], strlen(strings[i])) == strlen(strings[i]));
			must(strings[i][strspn(strings[i], " \t\r\n")] != '\0');
		}
	must(row->status == NULL || row->release_status != NULL || row->file_status != NULL);
	++*(int *) arg;
	return true;
}

static void
run_acknowledgement(const char *data, size_t len)
{
	char		why[ERN_WHY];
	xmlDocPtr	document = ern_parse(data, len, why);
	int			rows = 0;

	if (document == NULL)
	{
		must(strlen(why) < ERN_WHY && *why != '\0');
		must(pg_encoding_verifymbstr(PG_UTF8, why, strlen(why)) == strlen(why));
		return;
	}
	must(document->intSubset == NULL && document->extSubset == NULL);
	must(ern_read_ack(document, take, &rows));
	must(rows > 0);
	xmlFreeDoc(document);
}

/* The same within a root, so that more of it is well-formed */
static void
run_within(const char *data, size_t len)
{
	static const char head[] = "<a:AcknowledgementMessage xmlns:a=\"u\"><ReleaseStatus><ReleaseId><ICPN>1</ICPN></ReleaseId>";
	static const char tail[] = "</ReleaseStatus></a:AcknowledgementMessage>";
	size_t		size = sizeof(head) - 1 + len + sizeof(tail) - 1;
	char	   *whole = malloc(size);

	memcpy(whole, head, sizeof(head) - 1);
	memcpy(whole + sizeof(head) - 1, data, len);
	memcpy(whole + sizeof(head) - 1 + len, tail, sizeof(tail) - 1);
	run_acknowledgement(whole, size);
	free(whole);
}

static const char *const words[] = {
	"<ReleaseStatus>", "</ReleaseStatus>", "<ReleaseStatus>ReleaseMadeAvailableToConsumers</ReleaseStatus>", "<ReleaseId>", "</ReleaseId>", "<ICPN>0614141123452</ICPN>",
	"<MessageHeader><MessageId>A</MessageId></MessageHeader>", "<MessageId>M</MessageId>", "<MessageStatus><Status>FileOK</Status></MessageStatus>", "<FileStatus>", "</FileStatus>",
	"<ErrorText>", "</ErrorText>", "<ProposedActionType>ResendXmlOnly</ProposedActionType>", "<a>", "</a>", "<a/>", "<![CDATA[", "]]>", "<!--", "-->", "<?x y?>", "&amp;", "&lt;", "&#65;", "&#0;",
	"&e;", "<!DOCTYPE x [<!ENTITY e \"&e;&e;\">]>", "<!DOCTYPE x SYSTEM \"file:///etc/passwd\">", "<?xml version=\"1.0\" encoding=\"UTF-16\"?>", "<?xml version=\"1.0\" encoding=\"x\"?>",
	" xmlns=\"u\"", " xmlns:b=\"\"", "<b:c/>", " ", "\n", "\xc3\xa4", "\xef\xbf\xbf", "\xff", "\xfe\xff", NULL
};

const FuzzTarget acknowledgement_targets[] = {
	{"acknowledgement", run_acknowledgement, words},
	{"acknowledgement_within", run_within, words},
	{0}
};
