/*
 * The official schemas, kept for the life of the process; see ern_schema.h.
 *
 * Both files of a version are read into memory, their SHA-256 is compared, and
 * those bytes are what libxml2 parses: its loader of other files is replaced
 * meanwhile by one that knows these two and nothing else, neither in the file
 * system nor on the network. Nothing raises while it is replaced, nor while
 * the handler of errors is.
 */
#include "postgres.h"

#include <libxml/parser.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "distribution/ern_schema.h"
#include "distribution/ern_xml.h"

#define SHA256_LEN 32
#define MAX_FILE (16 * 1024 * 1024)

typedef struct SchemaFile
{
	const char *name;			/* in the folder of its version */
	const char *sha256;			/* of the official one */
	char	   *bytes;
	size_t		len;
} SchemaFile;

typedef struct Schema
{
	const char *folder;
	const char *version;
	SchemaFile	files[2];		/* the message's, which imports the other */
	xmlSchemaPtr schema;
	xmlDocPtr	document;		/* the schema points into it */
	char	   *from;			/* the folder that it was read from, malloc'd */
} Schema;

static Schema schemas[] = {
	[ERN_432] = {"ern432", "4.3.2", {
			{"release-notification.xsd", "def25b4e72696c9bbc1fed84962acc3a9bae2bc92ef25f8393c99b362aa53a6a"},
			{"allowed-value-sets.xsd", "c0cb3759f59dcea9bb4ab3bcc0899ce3f5c5ef15b94cb4086c25c76829e079a8"}}},
	[ERN_382] = {"ern382", "3.8.2", {
			{"release-notification.xsd", "cb2041326ee178a50ce8440424f8b614641248d9a02b00359438e386ca0ff344"},
			{"avs_20161006.xsd", "73d006bc0dc93bcbcce1d3cb3876a23bbf295b19a7c0536d3523f1e36b2f0a6e"}}},
};

static char *schema_directory = NULL;
static char *schema_digests = NULL;

/* The one being parsed, for the loader */
static const Schema *parsing;

static bool
check_digests(char **newval, void **extra, GucSource source)
{
	for (const char *p = *newval; *(p += strspn(p, ", ")) != '\0'; p += 2 * SHA256_LEN)
		if (strspn(p, "0123456789abcdef") != 2 * SHA256_LEN)
		{
			GUC_check_errdetail("\"%s\" is no list of SHA-256 in hex.", *newval);
			GUC_check_errhint("Separate them by commas, as sha256sum writes them.");
			return false;
		}
	return true;
}

void
ern_schema_init(void)
{
	DefineCustomStringVariable("musicverse.ddex_schema_directory", "Folder with the schemas of DDEX.",
							   "It has the folders ern432 and ern382. Empty: messages cannot be validated.",
							   &schema_directory, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.ddex_schema_digests", "SHA-256 of schemas that are taken besides the known ones.",
							   "A list in hex, separated by commas.",
							   &schema_digests, "", PGC_SIGHUP, 0, check_digests, NULL, NULL);
}

/* ---- files ---- */

static char *
path_of(const Schema *schema, const SchemaFile *file)
{
	return psprintf("%s/%s/%s", schema_directory, schema->folder, file->name);
}

static void
read_schema_file(const Schema *schema, SchemaFile *file)
{
	char	   *path = path_of(schema, file);
	FILE	   *stream = AllocateFile(path, PG_BINARY_R);
	struct stat status;

	if (stream == NULL)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not open schema \"%s\": %m", path),
				errhint("Get ERN %s from DDEX and put its files into folder %s of musicverse.ddex_schema_directory.",
						schema->version, schema->folder));
	if (fstat(fileno(stream), &status) != 0)
		ereport(ERROR, errcode_for_file_access(), errmsg("could not stat schema \"%s\": %m", path));
	if (!S_ISREG(status.st_mode) || status.st_size > MAX_FILE)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("\"%s\" is no file of at most %d bytes", path, MAX_FILE));
	file->bytes = palloc(status.st_size + 1);
	file->len = fread(file->bytes, 1, status.st_size, stream);
	if (ferror(stream))
		ereport(ERROR, errcode_for_file_access(), errmsg("could not read schema \"%s\": %m", path));
	FreeFile(stream);
}

static void
check_schema_file(const Schema *schema, const SchemaFile *file)
{
	unsigned char digest[SHA256_LEN];
	char		hex[2 * SHA256_LEN + 1];

	if (EVP_Digest(file->bytes, file->len, digest, NULL, EVP_sha256(), NULL) != 1)
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a SHA-256"));
	hex[hex_encode((const char *) digest, SHA256_LEN, hex)] = '\0';
	if (strcmp(hex, file->sha256) != 0 && strstr(schema_digests, hex) == NULL)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("schema \"%s\" is not the official one", path_of(schema, file)),
				errdetail("Its SHA-256 is %s, not %s.", hex, file->sha256),
				errhint("Get it from DDEX again, or add its digest to musicverse.ddex_schema_digests if it is one that you trust."));
}

/* ---- parsing ---- */

/* libxml2's loader of what a schema names: one of the files in memory, or nothing */
static xmlParserInputPtr
load_from_memory(const char *url, const char *id, xmlParserCtxtPtr parser)
{
	const char *slash = url == NULL ? NULL : strrchr(url, '/');
	const char *name = slash == NULL ? url : slash + 1;

	for (int i = 0; name != NULL && i < lengthof(parsing->files); i++)
	{
		const SchemaFile *file = &parsing->files[i];
		xmlParserInputBufferPtr buffer;
		xmlParserInputPtr input;

		if (strcmp(name, file->name) != 0)
			continue;
		buffer = xmlParserInputBufferCreateMem(file->bytes, (int) file->len, XML_CHAR_ENCODING_NONE);
		if (buffer == NULL)
			return NULL;
		input = xmlNewIOInputStream(parser, buffer, XML_CHAR_ENCODING_NONE);
		if (input == NULL)
			xmlFreeParserInputBuffer(buffer);
		else
			input->filename = (const char *) xmlStrdup(BAD_CAST url);
		return input;
	}
	return NULL;
}

static void
keep_first(void *arg, ErnXmlError error)
{
	char	   *why = arg;

	if (*why == '\0')
		snprintf(why, ERN_WHY, "line %d: %.200s", error->line, error->message ? error->message : "");
}

static void
parse_schema(Schema *schema, char why[ERN_WHY])
{
	xmlExternalEntityLoader usual = xmlGetExternalEntityLoader();
	xmlStructuredErrorFunc usual_handler = xmlStructuredError;
	void	   *usual_context = xmlStructuredErrorContext;
	xmlSchemaParserCtxtPtr parser;

	xmlInitParser();
	schema->document = xmlReadMemory(schema->files[0].bytes, (int) schema->files[0].len, schema->files[0].name, NULL,
									 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (schema->document == NULL)
	{
		strlcpy(why, "not well-formed", ERN_WHY);
		return;
	}
	parser = xmlSchemaNewDocParserCtxt(schema->document);
	if (parser != NULL)
	{
		xmlSchemaSetParserStructuredErrors(parser, keep_first, why);
		parsing = schema;
		xmlSetExternalEntityLoader(load_from_memory);
		/* what parses the file that is imported knows no other handler, and would write to stderr */
		xmlSetStructuredErrorFunc(why, keep_first);
		schema->schema = xmlSchemaParse(parser);
		xmlSetStructuredErrorFunc(usual_context, usual_handler);
		xmlSetExternalEntityLoader(usual);
		parsing = NULL;
		xmlSchemaFreeParserCtxt(parser);
	}
	if (schema->schema == NULL)
	{
		xmlFreeDoc(schema->document);
		schema->document = NULL;
	}
}

static void
forget(Schema *schema)
{
	xmlSchemaFree(schema->schema);
	xmlFreeDoc(schema->document);
	free(schema->from);
	schema->schema = NULL;
	schema->document = NULL;
	schema->from = NULL;
}

xmlSchemaPtr
ern_schema(ErnVersion version)
{
	Schema	   *schema = &schemas[version];
	char		why[ERN_WHY] = "";
	char	   *key;

	if (*schema_directory == '\0')
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("messages of ERN %s cannot be validated without its schema", schema->version),
				errhint("Get ERN from DDEX, set musicverse.ddex_schema_directory to the folder of its schemas, and reload."));
	key = psprintf("%s\n%s", schema_directory, schema_digests);
	if (schema->schema != NULL && strcmp(schema->from, key) == 0)
		return schema->schema;

	if (schema->schema != NULL)
		forget(schema);
	for (int i = 0; i < lengthof(schema->files); i++)
	{
		read_schema_file(schema, &schema->files[i]);
		check_schema_file(schema, &schema->files[i]);
		CHECK_FOR_INTERRUPTS();
	}
	schema->from = strdup(key);
	if (schema->from != NULL)
		parse_schema(schema, why);
	for (int i = 0; i < lengthof(schema->files); i++)
	{
		pfree(schema->files[i].bytes);
		schema->files[i].bytes = NULL;
	}
	if (schema->schema == NULL)
	{
		free(schema->from);
		schema->from = NULL;
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("the schema of ERN %s could not be parsed", schema->version),
				errdetail("%s", *why ? why : "There is not enough memory."));
	}
	pfree(key);
	return schema->schema;
}
