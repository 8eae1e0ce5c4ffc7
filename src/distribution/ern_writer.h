/*
 * Writing XML by libxml2's writer: short forms of its calls. A call that fails,
 * which only a lack of memory makes happen, is remembered; none of them raises.
 * Values that are NULL are left out with their elements.
 */
#ifndef MV_ERN_WRITER_H
#define MV_ERN_WRITER_H

#include "postgres.h"

#include <libxml/xmlwriter.h>

#include "distribution/ern_int.h"

typedef struct ErnWriter
{
	xmlTextWriterPtr xml;
	const ErnMessage *message;
	bool		failed;
} ErnWriter;

static inline void
w_open(ErnWriter *w, const char *name)
{
	w->failed |= xmlTextWriterStartElement(w->xml, BAD_CAST name) < 0;
}

static inline void
w_close(ErnWriter *w)
{
	w->failed |= xmlTextWriterEndElement(w->xml) < 0;
}

static inline void
w_attribute(ErnWriter *w, const char *name, const char *value)
{
	if (value != NULL)
		w->failed |= xmlTextWriterWriteAttribute(w->xml, BAD_CAST name, BAD_CAST value) < 0;
}

static inline void
w_content(ErnWriter *w, const char *value)
{
	w->failed |= xmlTextWriterWriteString(w->xml, BAD_CAST value) < 0;
}

static inline void
w_text(ErnWriter *w, const char *name, const char *value)
{
	if (value == NULL)
		return;
	w_open(w, name);
	w_content(w, value);
	w_close(w);
}

/* An element with an attribute */
static inline void
w_text_with(ErnWriter *w, const char *name, const char *attribute, const char *of, const char *value)
{
	if (value == NULL)
		return;
	w_open(w, name);
	w_attribute(w, attribute, of);
	w_content(w, value);
	w_close(w);
}

static inline void
w_number(ErnWriter *w, const char *name, int64 value)
{
	char		digits[24];

	snprintf(digits, sizeof(digits), INT64_FORMAT, value);
	w_text(w, name, digits);
}

/* A reference: a letter and a number */
static inline void
w_reference(ErnWriter *w, const char *name, char letter, int number)
{
	char		reference[16];

	snprintf(reference, sizeof(reference), "%c%d", letter, number);
	w_text(w, name, reference);
}

/* ern_write.c */
/* Begins a document; NULL without memory. */
extern xmlBufferPtr w_start(ErnWriter *w);
/* Ends it: the buffer, or NULL when some call failed, which then is freed. */
extern xmlBufferPtr w_finish(ErnWriter *w, xmlBufferPtr buffer);
extern void w_duration(ErnWriter *w, const char *name, int seconds);
extern void w_header(ErnWriter *w);
extern void w_line(ErnWriter *w, const char *kind, const ErnLine *line);
extern void w_strings(ErnWriter *w, const char *name, const ErnStrings *strings);
extern void w_territories(ErnWriter *w, const ErnDeal *deal);
extern void w_proprietary_id(ErnWriter *w, const char *suffix, int number);
extern void w_sampling_rate(ErnWriter *w, int hertz);
extern void w_pixels(ErnWriter *w, const char *name, int pixels);
extern void w_title(ErnWriter *w, const char *element, const char *title, const char *version);

/* ern_write432.c, ern_write382.c: the body of a message, after the header */
extern void w_body_432(ErnWriter *w);
extern void w_body_382(ErnWriter *w);

#endif							/* MV_ERN_WRITER_H */
