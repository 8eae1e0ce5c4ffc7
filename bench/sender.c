/*
 * The bare sender: what libcurl's multi interface does on this machine when it
 * has nothing else to do. It is the limit that the delivery worker is measured
 * against, so it must be as fast as an honest sender can be made: one process,
 * one thread, kept-alive connections, easy handles used again and again, header
 * lists whose text is overwritten in place, one HMAC context that is re-armed.
 * Nothing is stored and nothing is retried.
 *
 * Every request is a complete Standard Webhooks delivery: its own webhook-id,
 * the current timestamp, the HMAC-SHA256 of "id.timestamp.body" in base64, and
 * a JSON body of the size asked for. An answer of 2xx counts as ok.
 *
 * usage: sender URL COUNT CONCURRENCY BODY_BYTES
 * Prints one line of JSON: {"sent","ok","seconds","per_second","cpu_us_each"};
 * the exit status is 1 unless every request was ok.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/resource.h>

#include <curl/curl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define ID_LEN		36			/* a UUID */
#define TS_LEN		10			/* seconds, until the year 2286 */
#define SIG_LEN		44			/* base64 of 32 bytes */

/* One easy handle with the header texts that it sends */
typedef struct Slot
{
	CURL	   *easy;
	struct curl_slist nodes[4];
	char		type[40];
	char		id[16 + ID_LEN];
	char		timestamp[32 + TS_LEN];
	char		signature[32 + SIG_LEN];
} Slot;

static const char *url;
static long count;
static int	concurrency;
static size_t body_len;

static char *body;
static EVP_MAC_CTX *mac;
static uint64_t id_high;
static uint64_t id_next;
static long sent;
static long ok;

static void
die(const char *what)
{
	fprintf(stderr, "sender: %s\n", what);
	exit(2);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* CPU time of this process, user and system */
static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 +
		usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

/* {"type":…,"timestamp":…,"data":{"pad":"xxx…"}} padded to the size asked for */
static void
make_body(void)
{
	static const char head[] =
		"{\"type\":\"track.created\",\"timestamp\":\"2025-01-01T00:00:00.000000Z\",\"data\":{\"pad\":\"";
	static const char tail[] = "\"}}";
	size_t		fixed = sizeof(head) - 1 + sizeof(tail) - 1;

	if (body_len < fixed)
		body_len = fixed;
	body = malloc(body_len + 1);
	if (body == NULL)
		die("out of memory");
	memset(body, 'x', body_len);
	memcpy(body, head, sizeof(head) - 1);
	memcpy(body + body_len - (sizeof(tail) - 1), tail, sizeof(tail));
}

static void
make_mac(void)
{
	unsigned char key[24];
	char		digest[] = "SHA256";
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end()
	};
	EVP_MAC    *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);

	if (algorithm == NULL || RAND_bytes(key, sizeof(key)) != 1 ||
		RAND_bytes((unsigned char *) &id_high, sizeof(id_high)) != 1)
		die("OpenSSL has no HMAC or no random bytes");
	mac = EVP_MAC_CTX_new(algorithm);
	if (mac == NULL || EVP_MAC_init(mac, key, sizeof(key), params) != 1)
		die("could not prepare the HMAC");
}

/* A version 7 shaped id; unique, which is all that a receiver asks of it */
static void
write_id(char *out)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t	high = (id_high & ~UINT64_C(0xf000)) | 0x7000;
	uint64_t	low = (id_next++ & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
	int			digit = 0;

	for (int i = 0; i < ID_LEN; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			out[i] = '-';
			continue;
		}
		out[i] = hex[((digit < 16 ? high >> (60 - 4 * digit) : low >> (124 - 4 * digit)) & 15)];
		digit++;
	}
}

/* Gives the slot the headers of one more delivery and its signature */
static void
sign(Slot *slot)
{
	unsigned char digest[32];
	size_t		digest_len;
	char	   *id = slot->id + sizeof("webhook-id: ") - 1;
	char	   *timestamp = slot->timestamp + sizeof("webhook-timestamp: ") - 1;
	char	   *signature = slot->signature + sizeof("webhook-signature: v1,") - 1;

	write_id(id);
	snprintf(timestamp, TS_LEN + 1, "%" PRId64, (int64_t) time(NULL));

	if (EVP_MAC_init(mac, NULL, 0, NULL) != 1 ||
		EVP_MAC_update(mac, (unsigned char *) id, ID_LEN) != 1 ||
		EVP_MAC_update(mac, (unsigned char *) ".", 1) != 1 ||
		EVP_MAC_update(mac, (unsigned char *) timestamp, TS_LEN) != 1 ||
		EVP_MAC_update(mac, (unsigned char *) ".", 1) != 1 ||
		EVP_MAC_update(mac, (unsigned char *) body, body_len) != 1 ||
		EVP_MAC_final(mac, digest, &digest_len, sizeof(digest)) != 1)
		die("could not sign");
	EVP_EncodeBlock((unsigned char *) signature, digest, (int) digest_len);
}

static size_t
discard(char *data, size_t size, size_t n, void *unused)
{
	(void) data;
	(void) unused;
	return size * n;
}

static void
make_slot(Slot *slot)
{
	char	   *texts[] = {slot->type, slot->id, slot->timestamp, slot->signature};

	strcpy(slot->type, "Content-Type: application/json");
	strcpy(slot->id, "webhook-id: ");
	strcpy(slot->timestamp, "webhook-timestamp: ");
	strcpy(slot->signature, "webhook-signature: v1,");
	for (int i = 0; i < 4; i++)
	{
		slot->nodes[i].data = texts[i];
		slot->nodes[i].next = i < 3 ? &slot->nodes[i + 1] : NULL;
	}

	slot->easy = curl_easy_init();
	if (slot->easy == NULL)
		die("out of memory");
	curl_easy_setopt(slot->easy, CURLOPT_URL, url);
	curl_easy_setopt(slot->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body_len);
	curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, slot->nodes);
	curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(slot->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(slot->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(slot->easy, CURLOPT_TIMEOUT_MS, 30000L);
	curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
}

/* Sends one more with this slot, if any is left */
static void
start(CURLM *multi, Slot *slot)
{
	if (sent == count)
		return;
	sent++;
	sign(slot);
	if (curl_multi_add_handle(multi, slot->easy) != CURLM_OK)
		die("curl_multi_add_handle failed");
}

static void
run(void)
{
	CURLM	   *multi = curl_multi_init();
	Slot	   *slots = calloc(concurrency, sizeof(Slot));
	long		done = 0;

	if (multi == NULL || slots == NULL)
		die("out of memory");
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) concurrency);
	for (int i = 0; i < concurrency; i++)
	{
		make_slot(&slots[i]);
		start(multi, &slots[i]);
	}

	while (done < count)
	{
		CURLMsg    *message;
		int			running;
		int			queued;

		if (curl_multi_perform(multi, &running) != CURLM_OK)
			die("curl_multi_perform failed");
		while ((message = curl_multi_info_read(multi, &queued)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			Slot	   *slot;
			long		status = 0;

			if (message->msg != CURLMSG_DONE)
				continue;
			if (message->data.result == CURLE_OK)
				curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
			if (status >= 200 && status < 300)
				ok++;
			done++;
			curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &slot);
			curl_multi_remove_handle(multi, easy);
			start(multi, slot);
		}
		if (done < count && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
			die("curl_multi_poll failed");
	}

	for (int i = 0; i < concurrency; i++)
		curl_easy_cleanup(slots[i].easy);
	curl_multi_cleanup(multi);
	free(slots);
}

int
main(int argc, char **argv)
{
	double		began;
	double		seconds;
	double		cpu;

	if (argc != 5)
		die("usage: sender URL COUNT CONCURRENCY BODY_BYTES");
	url = argv[1];
	count = atol(argv[2]);
	concurrency = atoi(argv[3]);
	body_len = (size_t) atol(argv[4]);
	if (count < 1 || concurrency < 1)
		die("COUNT and CONCURRENCY must be positive numbers");

	curl_global_init(CURL_GLOBAL_DEFAULT);
	make_body();
	make_mac();

	began = now();
	cpu = cpu_seconds();
	run();
	seconds = now() - began;
	cpu = cpu_seconds() - cpu;

	printf("{\"sent\":%ld,\"ok\":%ld,\"seconds\":%.6f,\"per_second\":%.1f,\"cpu_us_each\":%.2f}\n",
		   sent, ok, seconds, sent / seconds, cpu / sent * 1e6);
	return ok == count ? 0 : 1;
}
