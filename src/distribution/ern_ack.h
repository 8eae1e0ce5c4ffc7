/*
 * What partners answer: acknowledgements of a message or a file, and statuses
 * of a release, in whatever namespace.
 */
#ifndef MV_ERN_ACK_H
#define MV_ERN_ACK_H

#include "postgres.h"

#include <libxml/tree.h>

#include "distribution/ern_xml.h"

#define ERN_MAX_ACK (1024 * 1024)

typedef struct ErnAckRow
{
	const char *acknowledgement_id; /* of the answer itself */
	const char *message_id;		/* of what is answered */
	const char *release_id;
	const char *status;			/* pending, processing, live or failed; NULL when it says none of them */
	const char *release_status; /* as written */
	const char *file_status;
	const char *action;
	const char *text;
} ErnAckRow;

/*
 * Calls take for each release that the answer tells of; the strings, of UTF-8
 * and with whatever white space surrounds them, live until it returns. Stops
 * and returns false when take does. Raises only if take does.
 */
typedef bool (*ErnAckTaker) (const ErnAckRow *row, void *arg);
extern bool ern_read_ack(xmlDocPtr document, ErnAckTaker take, void *arg);

#endif							/* MV_ERN_ACK_H */
