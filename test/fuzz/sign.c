/* Base64, keys, and the signatures that a caller hands over. */
#include "../../src/core/base64.c"
#include "../../src/webhooks/sign.c"

#include "fuzz.h"

static void
run_base64(const char *data, size_t len)
{
	char	   *text = malloc(MV_BASE64_LEN(len) + 1);
	uint8	   *bytes = malloc(len + 1);
	size_t		n = mv_base64_encode(data, len, text);
	size_t		max = len > 0 ? (unsigned char) data[0] % (len + 1) : 0;

	must(n == MV_BASE64_LEN(len) && text[n] == '\0');
	must(mv_base64_decode(text, n, bytes, len, true) == (int) len);
	must(memcmp(bytes, data, len) == 0);
	free(text);
	free(bytes);

	bytes = malloc(max);
	must(mv_base64_decode(data, len, bytes, max, len % 2 == 0) <= (int) max);
	free(bytes);
}

static void
run_key(const char *data, size_t len)
{
	char	   *key = malloc(len);
	char		signature[MV_SIGNATURE_MAX];
	MvSigner   *signer;

	memcpy(key, data, len);
	data = memcpy(palloc(len + 1), data, len);
	memcpy(palloc(len + 1), key, len);
	free(key);					/* what is raised now must not leave it behind */
	signer = mv_signer_create(data, len);
	if (mv_sign(signer, "msg_1", 1, data, len, signature) > 0)
		must(mv_verify(signer, "msg_1", 1, data, len, signature, strlen(signature)));
	mv_signer_free(signer);
}

static void
run_verify(const char *data, size_t len)
{
	static MvSigner *hmac_signer,
			   *ed25519_signer;
	char	   *header = malloc(len);

	if (hmac_signer == NULL)
	{
		const char *secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
		const char *public = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

		hmac_signer = mv_signer_create(secret, strlen(secret));
		ed25519_signer = mv_signer_create(public, strlen(public));
	}
	memcpy(header, data, len);
	must(!mv_verify(hmac_signer, "msg_1", 1, "x", 1, header, len));
	must(!mv_verify(ed25519_signer, "msg_1", 1, "x", 1, header, len));
	free(header);
}

static const char *const words[] = {
	"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
	"whsec_", "whsk_", "whpk_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "=", "==", "A", "+/",
	"v1,", "v1a,", "v2,", " ", ",", "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "\n", "-_",
	"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==", NULL
};

const FuzzTarget sign_targets[] = {
	{"base64", run_base64, words},
	{"key", run_key, words},
	{"signature", run_verify, words},
	{0}
};
