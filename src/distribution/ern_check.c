/*
 * Judges a message: by its schema, and by what a schema cannot say, that what
 * refers to something refers to something that is there, once.
 *
 * Allocates by libxml2 only and never raises.
 */
#include "postgres.h"

#include <libxml/hash.h>

#include "distribution/ern_schema.h"
#include "distribution/ern_xml.h"

static void
add_fault(ErnFaults *faults, xmlChar *text)
{
	if (text == NULL)
		faults->no_memory = true;
	else
		faults->text[faults->n++] = text;
}

static void pg_attribute_printf(2, 3)
note(ErnFaults *faults, const char *format,...)
{
	char		line[512];
	va_list		args;
	int			len;

	if (faults->n >= ERN_MAX_FAULTS)
		return;
	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* whole characters only, also where it was cut */
	len = Min(len, (int) sizeof(line) - 1);
	while (len > 0 && line[len - 1] == '\n')
		len--;
	if (len == sizeof(line) - 1)
	{
		while (len > 0 && ((unsigned char) line[len - 1] & 0x80) != 0)
			len--;
	}
	add_fault(faults, xmlStrndup(BAD_CAST line, len));
}

/* libxml2's handler of errors, one a fault */
static void
take_error(void *arg, ErnXmlError error)
{
	const xmlNode *node = error->node;

	note(arg, "line %ld: %s", node != NULL ? xmlGetLineNo(node) : (long) error->line, error->message ? error->message : "");
}

/* Walks in document order, over elements only. NULL at the end. */
static xmlNodePtr
next_element(xmlNodePtr node)
{
	xmlNodePtr	next = ern_first(node);

	while (next == NULL && node != NULL && node->type == XML_ELEMENT_NODE)
	{
		next = ern_next(node);
		node = node->parent;
	}
	return next;
}

static bool
defines(const xmlNode *node)
{
	return ern_is(node, "ResourceReference") || ern_is(node, "PartyReference") || ern_is(node, "ReleaseReference") ||
		ern_is(node, "TechnicalResourceDetailsReference") || ern_is(node, "VisibilityReference");
}

static bool
refers(const xmlNode *node)
{
	static const char *const names[] = {
		"ArtistPartyReference", "ContributorPartyReference", "ReleaseLabelReference", "ReleaseResourceReference",
		"LinkedReleaseResourceReference", "DealReleaseReference", "ReleaseVisibilityReference", "ResourceGroupReleaseReference"
	};

	for (int i = 0; i < lengthof(names); i++)
		if (ern_is(node, names[i]))
			return true;
	return false;
}

/* A reference is short; what is long is somebody's joke */
static const char *
brief(const char *content)
{
	return strlen(content) <= 60 ? content : "(long)";
}

static void
check_references(xmlNodePtr root, ErnFaults *faults)
{
	xmlHashTablePtr known = xmlHashCreate(64);

	if (known == NULL)
	{
		faults->no_memory = true;
		return;
	}
	for (int second = 0; second <= 1; second++)
		for (xmlNodePtr node = root; node != NULL; node = next_element(node))
		{
			xmlChar    *copy;
			const char *content;

			if (!(second ? refers(node) : defines(node)))
				continue;
			content = ern_content(node, &copy);
			if (content != NULL && !second && xmlHashAddEntry(known, BAD_CAST content, node) != 0)
				note(faults, "line %ld: %s %s is there twice", xmlGetLineNo(node), (const char *) node->name, brief(content));
			if (content != NULL && second && xmlHashLookup(known, BAD_CAST content) == NULL)
				note(faults, "line %ld: %s %s refers to nothing", xmlGetLineNo(node), (const char *) node->name, brief(content));
			xmlFree(copy);
		}
	xmlHashFree(known, NULL);
}

void
ern_check(xmlSchemaPtr schema, const char *xml, size_t len, ErnFaults *faults)
{
	char		why[ERN_WHY];
	xmlDocPtr	document = ern_parse(xml, len, why);
	xmlSchemaValidCtxtPtr judge;

	memset(faults, 0, sizeof(*faults));
	if (document == NULL)
	{
		note(faults, "%s", why);
		return;
	}
	judge = xmlSchemaNewValidCtxt(schema);
	if (judge == NULL)
		faults->no_memory = true;
	else
	{
		int			verdict;

		xmlSchemaSetValidStructuredErrors(judge, take_error, faults);
		verdict = xmlSchemaValidateDoc(judge, document);
		if (verdict < 0)
			faults->no_memory = true;
		else if (verdict > 0 && faults->n == 0)
			note(faults, "not valid");
		xmlSchemaFreeValidCtxt(judge);
		check_references(xmlDocGetRootElement(document), faults);
	}
	xmlFreeDoc(document);
}

void
ern_free_faults(ErnFaults *faults)
{
	for (int i = 0; i < faults->n; i++)
		xmlFree(faults->text[i]);
	faults->n = 0;
}
