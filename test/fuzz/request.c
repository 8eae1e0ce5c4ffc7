/* Signed requests: lists of signatures, lines, and what the state file says were used. */
#include "../../src/keys/signature.c"

#include "fuzz.h"

static void
begin(void)
{
	static LWLockPadded tranche[PARTITIONS];
	static char *memory = NULL;

	signature_memory = 128;
	if (memory == NULL)
		memory = malloc(signatures_size());
	memset(memory, 0, signatures_size());
	signatures_start(memory, tranche, true);
	fuzz_now += 10 * USECS_PER_SEC;
}

static void
run_request(const char *data, size_t len)
{
	MvRequest	request = {"POST", 4, "/a", 2, 0, data, len};
	unsigned char mac[MAC_LEN];
	char	   *list;
	int			gap = len > 0 ? (unsigned char) data[0] % 2 : 0;
	int			n = 0;

	begin();
	request.ts = seconds_now();
	must(!mv_signature_verify("s", 1, data, len, &request, 300));

	/* the right one behind or before others, which must not use it up */
	compute("s", 1, &request, mac);
	list = palloc(2 * SIGNATURE_LEN + len + 2);
	if (gap)
	{
		memcpy(list, data, len);
		n = len;
		list[n++] = ' ';
	}
	memcpy(list + n, VERSION, VERSION_LEN);
	hex_encode((char *) mac, MAC_LEN, list + n + VERSION_LEN);
	n += SIGNATURE_LEN;
	if (!gap)
	{
		list[n++] = ' ';
		memcpy(list + n, data, len);
		n += len;
		must(mv_signature_verify("s", 1, list, n, &request, 300));
	}
	else
		mv_signature_verify("s", 1, list, n, &request, 300);
	must(!mv_signature_verify("s", 1, list, n, &request, 300) || gap);

	/* as the lines of one: whatever they are, nothing is good that wasn't signed so */
	request.method = data;
	request.method_len = len / 2;
	request.path = data + len / 2;
	request.path_len = len - len / 2;
	mv_signature_verify("s", 1, list, n, &request, 300);
}

static void
run_used(const char *data, size_t len)
{
	StringInfoData first,
				second;

	begin();
	load_signatures(data, len, 0, true);
	initStringInfo(&first);
	save_signatures(&first);
	begin();
	fuzz_now -= 10 * USECS_PER_SEC;
	load_signatures(first.data, first.len, 0, true);
	initStringInfo(&second);
	save_signatures(&second);
	must(first.len == second.len);
}

static const char *const words[] = {
	"v1=", "v2=", " ", "  ", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "ABCDEF", "POST", "/a", "?", "\n", "\x7f", "\xff\xff\xff\xff\xff\xff\xff\x7f", NULL
};

const FuzzTarget request_targets[] = {
	{"request", run_request, words},
	{"used_signatures", run_used, words},
	{0}
};
