/*
 * XML of others, parsed without harm; see ern_xml.h.
 */
#include "postgres.h"

#include <libxml/parser.h>

#include "mb/pg_wchar.h"

#include "distribution/ern_xml.h"

/* A document type would bring entities: no message of DDEX has one */
static void
refuse_document_type(void *ctx, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
	xmlParserCtxtPtr parser = ctx;

	*(bool *) parser->_private = true;
	xmlStopParser(parser);
}

static void
explain(const xmlParserCtxt *parser, bool has_type, char why[ERN_WHY])
{
	const xmlError *error = &parser->lastError;

	if (has_type)
		strlcpy(why, "a document type is not taken", ERN_WHY);
	else if (error->message == NULL)
		strlcpy(why, "not well-formed", ERN_WHY);
	else
	{
		/* cut to whole characters, and without the line feed at its end */
		size_t		len;

		snprintf(why, ERN_WHY, "line %d: %.200s", error->line, error->message);
		len = strlen(why);
		while (len > 0 && (why[len - 1] == '\n' || IS_HIGHBIT_SET(why[len - 1])))
			why[--len] = '\0';
		/* it may quote what is not UTF-8 */
		if (pg_encoding_verifymbstr(PG_UTF8, why, (int) len) != (int) len)
			for (size_t i = 0; i < len; i++)
				if (IS_HIGHBIT_SET(why[i]))
					why[i] = '?';
	}
}

xmlDocPtr
ern_parse(const char *xml, size_t len, char why[ERN_WHY])
{
	xmlParserCtxtPtr parser;
	xmlDocPtr	document;
	bool		has_type = false;

	if (len > INT_MAX)
	{
		strlcpy(why, "too long", ERN_WHY);
		return NULL;
	}
	parser = xmlNewParserCtxt();
	if (parser == NULL)
	{
		strlcpy(why, "out of memory", ERN_WHY);
		return NULL;
	}
	parser->_private = &has_type;
	parser->sax->internalSubset = refuse_document_type;
	document = xmlCtxtReadMemory(parser, xml, (int) len, NULL, "UTF-8",
								 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_COMPACT | XML_PARSE_NOCDATA);
	if (document != NULL && (has_type || !parser->wellFormed))
	{
		xmlFreeDoc(document);
		document = NULL;
	}
	if (document == NULL)
		explain(parser, has_type, why);
	xmlFreeParserCtxt(parser);
	return document;
}

bool
ern_is(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *) node->name, name) == 0;
}

static xmlNodePtr
element_from(xmlNodePtr node)
{
	while (node != NULL && node->type != XML_ELEMENT_NODE)
		node = node->next;
	return node;
}

xmlNodePtr
ern_first(const xmlNode *node)
{
	return element_from(node->children);
}

xmlNodePtr
ern_next(const xmlNode *node)
{
	return element_from(node->next);
}

const char *
ern_content(const xmlNode *node, xmlChar **copy)
{
	const char *text;

	*copy = NULL;
	if (node->children == NULL || ern_first(node) != NULL)
		return NULL;
	if (node->children->type == XML_TEXT_NODE && node->children->next == NULL)
		text = (const char *) node->children->content;
	else
		text = (const char *) (*copy = xmlNodeGetContent(node));
	if (text != NULL && text[strspn(text, " \t\r\n")] == '\0')
	{
		xmlFree(*copy);
		*copy = NULL;
		return NULL;
	}
	return text;
}
