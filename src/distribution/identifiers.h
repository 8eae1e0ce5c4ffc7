/*
 * Identifiers of the trade: ISRC, GTIN, ISWC, ISNI, GRid and DPID.
 *
 * Each has one stored form: capitals and digits, without the hyphens, points
 * and spaces that it is printed with. Nothing here takes a lock or raises.
 */
#ifndef MV_IDENTIFIERS_H
#define MV_IDENTIFIERS_H

#include "postgres.h"

typedef enum MvIdentifier
{
	MV_ISRC,					/* a recording: QZABC2600001 */
	MV_GTIN,					/* a release: 8, 12, 13 or 14 digits, also called UPC, EAN and ICPN */
	MV_ISWC,					/* a work: T0345246801 */
	MV_ISNI,					/* a person: 0000000121032683 */
	MV_GRID,					/* a release: A12425GABC1234002M */
	MV_DPID						/* a party of DDEX: PADPIDA2011072101T */
} MvIdentifier;

/* Longest text that normalising looks at */
#define MV_IDENTIFIER_MAX 64

/* Is it one, in the stored form, with a check digit that fits? */
extern bool mv_identifier_is_valid(MvIdentifier kind, const char *text, size_t len);

/*
 * Writes the stored form, without judging it, and returns its length; 0 when
 * there is anything in it but letters, digits, hyphens, points and spaces, or
 * too much.
 */
extern size_t mv_identifier_normalize(const char *text, size_t len, char out[MV_IDENTIFIER_MAX]);

/* What a kind is called, and looks like */
extern const char *mv_identifier_name(MvIdentifier kind);
extern const char *mv_identifier_hint(MvIdentifier kind);

/* The last digit of a GTIN whose other digits are given */
extern char mv_gtin_check_digit(const char *digits, size_t len);

#endif							/* MV_IDENTIFIERS_H */
