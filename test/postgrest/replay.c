/*
 * One connection, as PostgREST's pool holds it: statements come line by line
 * on standard input, each is prepared once with the types that are named, and
 * run by the extended protocol. Each gets one line of JSON as an answer.
 *
 *   replay CONNINFO
 *   SQL <tab> TYPE:VALUE <tab> TYPE:\N ...
 *
 * TYPE is the OID of a parameter's type, 705 for unknown. Backslash, tab and
 * line feed are written \\, \t and \n.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#define MAX_PARAMS 32

typedef struct Prepared
{
	char	   *line;			/* SQL and types */
	char		name[32];
	struct Prepared *next;
} Prepared;

static Prepared *all;

static void
put_json(const char *text)
{
	if (text == NULL)
	{
		fputs("null", stdout);
		return;
	}
	putchar('"');
	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < 0x20)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	putchar('"');
}

static void
put_result(const PGresult *result)
{
	static const struct
	{
		const char *name;
		int			code;
	}			fields[] = {{"sqlstate", PG_DIAG_SQLSTATE}, {"message", PG_DIAG_MESSAGE_PRIMARY}, {"detail", PG_DIAG_MESSAGE_DETAIL}, {"hint", PG_DIAG_MESSAGE_HINT}};
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
	{
		printf("{\"command\":");
		put_json(PQcmdStatus((PGresult *) result));
		printf(",\"rows\":[");
		for (int row = 0; row < PQntuples(result); row++)
		{
			printf(row ? ",{" : "{");
			for (int column = 0; column < PQnfields(result); column++)
			{
				if (column)
					putchar(',');
				put_json(PQfname(result, column));
				putchar(':');
				put_json(PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column));
			}
			putchar('}');
		}
		printf("]}\n");
		return;
	}
	printf("{\"error\":{");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		printf("%s\"%s\":", i ? "," : "", fields[i].name);
		put_json(PQresultErrorField(result, fields[i].code));
	}
	printf("}}\n");
}

/* Takes the next field off the line, unescaped in place; NULL at the end. */
static char *
next_field(char **line)
{
	char	   *field = *line;
	char	   *to = field;
	char	   *from = field;

	if (field == NULL)
		return NULL;
	while (*from && *from != '\t')
	{
		if (from[0] == '\\' && from[1] && from[1] != 'N')
		{
			*to++ = from[1] == 't' ? '\t' : from[1] == 'n' ? '\n' : from[1];
			from += 2;
		}
		else
			*to++ = *from++;
	}
	*line = *from ? from + 1 : NULL;
	*to = '\0';
	return field;
}

static void
run(PGconn *conn, char *line)
{
	char	   *sql = next_field(&line);
	char		identity[65536];
	const char *values[MAX_PARAMS];
	Oid			types[MAX_PARAMS];
	int			n = 0;
	char	   *field;
	Prepared   *prepared;
	PGresult   *result;

	snprintf(identity, sizeof(identity), "%s", sql);
	while ((field = next_field(&line)) != NULL && n < MAX_PARAMS)
	{
		char	   *value;

		types[n] = (Oid) strtoul(field, &value, 10);
		values[n] = strcmp(value, ":\\N") == 0 ? NULL : value + 1;
		snprintf(identity + strlen(identity), sizeof(identity) - strlen(identity), " %u", types[n++]);
	}
	for (prepared = all; prepared && strcmp(prepared->line, identity) != 0; prepared = prepared->next)
		;
	if (prepared == NULL)
	{
		static int	number;
		char		name[32];

		snprintf(name, sizeof(name), "s%d", number++);
		result = PQprepare(conn, name, sql, n, types);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
		{
			put_result(result);
			PQclear(result);
			return;
		}
		PQclear(result);
		prepared = calloc(1, sizeof(Prepared));
		prepared->line = strdup(identity);
		memcpy(prepared->name, name, sizeof(name));
		prepared->next = all;
		all = prepared;
	}
	result = PQexecPrepared(conn, prepared->name, n, values, NULL, NULL, 0);
	put_result(result);
	PQclear(result);
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = PQconnectdb(argc > 1 ? argv[1] : "");
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		len;

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	while ((len = getline(&line, &room, stdin)) > 0)
	{
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		run(conn, line);
		fflush(stdout);
	}
	PQfinish(conn);
	return 0;
}
