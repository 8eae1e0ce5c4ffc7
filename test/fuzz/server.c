/*
 * What the parsers need of a server: memory that is freed after each run,
 * errors that end it, strings that grow, and settings that nobody has. Where a
 * message has arguments they are formatted, since a bad pointer shows there.
 */
#include "fuzz.h"

#include <setjmp.h>

#include "core/clock.h"
#include "core/shared.h"
#include "core/state.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/palloc.h"

typedef struct Block
{
	struct Block *next;
	struct Block *prev;
	uint64		pad;			/* keeps what follows aligned */
	uint64		size;
} Block;

static Block blocks = {&blocks, &blocks, 0, 0};
static jmp_buf raised;
static int	level;

MemoryContext CurrentMemoryContext;
MemoryContext TopMemoryContext;
MemoryContext ErrorContext;
char	   *GUC_check_errmsg_string;
char	   *GUC_check_errdetail_string;
char	   *GUC_check_errhint_string;
sigjmp_buf *PG_exception_stack;
Oid			MyDatabaseId = 5;
PGPROC	   *MyProc;
TimestampTz fuzz_now = INT64CONST(800000000) * USECS_PER_SEC;
ErrorContextCallback *error_context_stack;

/* ---- memory ---- */

void *
palloc(Size size)
{
	Block	   *block = malloc(sizeof(Block) + size);

	block->size = size;
	block->next = blocks.next;
	block->prev = &blocks;
	blocks.next->prev = block;
	blocks.next = block;
	return block + 1;
}

void
pfree(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	block->prev->next = block->next;
	block->next->prev = block->prev;
	free(block);
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return palloc0(size);
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

void *
repalloc(void *pointer, Size size)
{
	void	   *grown = palloc(size);

	memcpy(grown, pointer, Min(size, ((Block *) pointer - 1)->size));
	pfree(pointer);
	return grown;
}

char *
pnstrdup(const char *in, Size len)
{
	char	   *out;

	len = strnlen(in, len);
	out = palloc(len + 1);
	memcpy(out, in, len);
	out[len] = '\0';
	return out;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

static char *
formatted(const char *format, va_list args)
{
	char		text[4096];

	vsnprintf(text, sizeof(text), format, args);
	return pstrdup(text);
}

char *
psprintf(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = formatted(format, args);
	va_end(args);
	return text;
}

#if PG_VERSION_NUM >= 160000
void *
guc_malloc(int elevel, size_t size)
{
	return malloc(size);
}
#endif

/* ---- text ---- */

text *
cstring_to_text_with_len(const char *s, int len)
{
	text	   *result = palloc(len + VARHDRSZ);

	SET_VARSIZE(result, len + VARHDRSZ);
	memcpy(VARDATA(result), s, len);
	return result;
}

text *
cstring_to_text(const char *s)
{
	return cstring_to_text_with_len(s, strlen(s));
}

char *
text_to_cstring(const text *t)
{
	return pnstrdup(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

void
initStringInfo(StringInfo str)
{
	str->maxlen = 16;
	str->data = palloc(str->maxlen);
	resetStringInfo(str);
}

void
resetStringInfo(StringInfo str)
{
	str->data[0] = '\0';
	str->len = 0;
	str->cursor = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	must(needed >= 0);
	if (str->len + needed + 1 <= str->maxlen)
		return;
	str->maxlen = 2 * (str->len + needed + 1);
	str->data = repalloc(str->data, str->maxlen);
}

#if PG_VERSION_NUM >= 160000
void
appendBinaryStringInfo(StringInfo str, const void *data, int len)
#else
void
appendBinaryStringInfo(StringInfo str, const char *data, int len)
#endif
{
	enlargeStringInfo(str, len);
	memcpy(str->data + str->len, data, len);
	str->len += len;
	str->data[str->len] = '\0';
}

void
appendStringInfoString(StringInfo str, const char *s)
{
	appendBinaryStringInfo(str, s, strlen(s));
}

void
appendStringInfoChar(StringInfo str, char c)
{
	appendBinaryStringInfo(str, (char *) &c, 1);
}

void
appendStringInfoSpaces(StringInfo str, int count)
{
	while (count-- > 0)
		appendStringInfoChar(str, ' ');
}

void
appendStringInfo(StringInfo str, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	appendStringInfoString(str, formatted(format, args));
	va_end(args);
}

void
escape_json(StringInfo out, const char *s)
{
	appendStringInfoChar(out, '"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			appendStringInfo(out, "\\%c", *s);
		else if ((unsigned char) *s < ' ')
			appendStringInfo(out, "\\u%04x", *s);
		else
			appendStringInfoChar(out, *s);
	appendStringInfoChar(out, '"');
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

/* ---- shared memory: one process, which needs no locks ---- */

static MvShared shared;
MvShared   *mv_shared = &shared;

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
mul_size(Size a, Size b)
{
	return a * b;
}

bool
mv_state_has_room(StringInfo out, Size more)
{
	return true;
}

bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	return true;
}

void
LWLockRelease(LWLock *lock)
{
}

void
mv_shared_require(const char *what)
{
	must(mv_shared != NULL);
}

MvDatabase *
mv_database_find(Oid oid)
{
	return NULL;
}

TimestampTz
mv_now(void)
{
	return fuzz_now;
}

/* The table of the CRC-32, which the server has as a constant */
uint32		pg_crc32_table[256];

static void __attribute__((constructor))
fill_crc_table(void)
{
	for (uint32 i = 0; i < 256; i++)
	{
		pg_crc32_table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			pg_crc32_table[i] = pg_crc32_table[i] >> 1 ^ (pg_crc32_table[i] & 1 ? 0xedb88320 : 0);
	}
}

uint64
hex_encode(const char *src, size_t len, char *dst)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++)
	{
		*dst++ = digits[(unsigned char) src[i] >> 4];
		*dst++ = digits[src[i] & 15];
	}
	return 2 * len;
}

/* ---- errors ---- */

bool
errstart(int elevel, const char *domain)
{
	level = elevel;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (level >= ERROR)
		longjmp(raised, 1);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

#define MESSAGE(function) \
int \
function(const char *format,...) \
{ \
	va_list		args; \
\
	va_start(args, format); \
	formatted(format, args); \
	va_end(args); \
	return 0; \
}

MESSAGE(errmsg)
MESSAGE(errmsg_internal)
MESSAGE(errdetail)
MESSAGE(errhint)

void
pre_format_elog_string(int errnumber, const char *domain)
{
}

char *
format_elog_string(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = formatted(format, args);
	va_end(args);
	return text;
}

void
GUC_check_errcode(int sqlerrcode)
{
}

void
DefineCustomStringVariable(const char *name, const char *short_desc, const char *long_desc, char **valueAddr,
						   const char *bootValue, GucContext context, int flags, GucStringCheckHook check_hook,
						   GucStringAssignHook assign_hook, GucShowHook show_hook)
{
}

void
ExceptionalCondition(const char *conditionName,
#if PG_VERSION_NUM < 160000
					 const char *errorType,
#endif
					 const char *fileName, int lineNumber)
{
	fuzz_failed(conditionName);
}

/* ---- running ---- */

bool
fuzz_run(const FuzzTarget *target, const char *data, size_t len)
{
	bool		ok = false;

	if (setjmp(raised) == 0)
	{
		target->run(data, len);
		ok = true;
	}
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
	return ok;
}
