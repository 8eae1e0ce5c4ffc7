/*
 * XML of others, parsed without harm: nothing outside of the text is read, no
 * document type is taken, so that there are no entities beyond the five, and
 * libxml2's own limits of depth and length hold. Allocates by libxml2 only and
 * never raises.
 */
#ifndef MV_ERN_XML_H
#define MV_ERN_XML_H

#include "postgres.h"

#include <libxml/tree.h>
#include <libxml/xmlerror.h>

#define ERN_WHY 256

/* 2.12 made the errors that handlers get constant */
#if LIBXML_VERSION >= 21200
typedef const xmlError *ErnXmlError;
#else
typedef xmlErrorPtr ErnXmlError;
#endif

/*
 * Parses UTF-8, whatever encoding the text itself declares. NULL when it isn't
 * well-formed; why then tells it in UTF-8. What is returned is freed by
 * xmlFreeDoc().
 */
extern xmlDocPtr ern_parse(const char *xml, size_t len, char why[ERN_WHY]);

extern bool ern_is(const xmlNode *node, const char *name);

/* Iterates over the elements in a node */
extern xmlNodePtr ern_first(const xmlNode *node);
extern xmlNodePtr ern_next(const xmlNode *node);

/*
 * The text in an element that has nothing else: NULL when it has elements or
 * nothing but space. Points into the document, or *copy, which the caller frees by
 * xmlFree() when it isn't NULL.
 */
extern const char *ern_content(const xmlNode *node, xmlChar **copy);

#endif							/* MV_ERN_XML_H */
