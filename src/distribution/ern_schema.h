/*
 * The official schemas of DDEX, which its licence lets a user have but not us
 * ship: loaded from a folder that a setting names, and only when their SHA-256
 * is one that is known.
 */
#ifndef MV_ERN_SCHEMA_H
#define MV_ERN_SCHEMA_H

#include "postgres.h"

#include <libxml/xmlschemas.h>

#include "distribution/ern_int.h"

/* Defines the settings. */
extern void ern_schema_init(void);

/*
 * The schema of a version, parsed at its first use in a process and kept
 * (tens of megabytes). Raises when no folder is set, a file isn't there or
 * isn't the one that is known.
 */
extern xmlSchemaPtr ern_schema(ErnVersion version);

#define ERN_MAX_FAULTS 100

/* What is wrong with a message: in UTF-8, of libxml2's memory */
typedef struct ErnFaults
{
	int			n;
	bool		no_memory;
	xmlChar    *text[ERN_MAX_FAULTS];
} ErnFaults;

/* Judges a message. Never raises; the faults are freed by ern_free_faults(). */
extern void ern_check(xmlSchemaPtr schema, const char *xml, size_t len, ErnFaults *faults);
extern void ern_free_faults(ErnFaults *faults);

#endif							/* MV_ERN_SCHEMA_H */
