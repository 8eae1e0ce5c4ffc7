/*
 * Work of kind "flac": the same samples as FLAC, {"url": "…", "sha256": "…"}.
 *
 * Lossless is proved, not hoped for: what was written is decoded again, and
 * its samples must have the digest of those that were read.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <sndfile.h>
#include <unistd.h>

#include "media/inspect.h"
#include "media/media_int.h"

#define BLOCK_SAMPLES	32768

typedef struct Conversion
{
	MvAudio    *from;
	SNDFILE    *to;
	EVP_MD_CTX *digest;
	int			block[BLOCK_SAMPLES];
} Conversion;

static void
refuse(const char *why)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the file %s", why)));
}

static int
flac_subtype(const MvAudioFacts *facts)
{
	switch (facts->bit_depth)
	{
		case 8:
			return SF_FORMAT_PCM_S8;
		case 16:
			return SF_FORMAT_PCM_16;
		case 24:
			return SF_FORMAT_PCM_24;
		default:
			refuse(psprintf("has %d bits a sample, which FLAC has not", facts->bit_depth));
			return 0;
	}
}

static void
open_both(Conversion *conversion, const MvAudioInput *input, int out)
{
	char		why[MV_AUDIO_ERROR] = "";
	const MvAudioFacts *facts;
	SF_INFO		info = {0};
	double		level = 0.6;

	conversion->from = mv_audio_open(input, why);
	if (conversion->from == NULL)
		refuse(why);
	facts = mv_audio_facts(conversion->from);
	if (strcmp(facts->codec, "pcm") != 0)
		refuse("has no samples that FLAC could keep as they are");
	if (facts->channels > 8)
		refuse(psprintf("has %d channels, and FLAC at most 8", facts->channels));
	info.channels = facts->channels;
	info.samplerate = facts->sample_rate;
	info.format = SF_FORMAT_FLAC | flac_subtype(facts);
	conversion->to = out < 0 ? NULL : sf_open_fd(out, SFM_WRITE, &info, 0);
	if (conversion->to == NULL)
		refuse(psprintf("cannot be made FLAC: %.100s", sf_strerror(NULL)));
	sf_command(conversion->to, SFC_SET_COMPRESSION_LEVEL, &level, sizeof(level));
}

/* Reads all there is, into the digest, and into the other file if there is one. */
static void
pump(Conversion *conversion, unsigned char digest[32])
{
	int			channels = mv_audio_facts(conversion->from)->channels;
	int64		n;

	conversion->digest = EVP_MD_CTX_new();
	if (conversion->digest == NULL || EVP_DigestInit_ex(conversion->digest, EVP_sha256(), NULL) != 1)
		elog(ERROR, "could not compute a digest");
	while ((n = mv_audio_read_ints(conversion->from, conversion->block, BLOCK_SAMPLES / channels)) > 0)
	{
		if (EVP_DigestUpdate(conversion->digest, conversion->block, n * channels * sizeof(int)) != 1)
			elog(ERROR, "could not compute a digest");
		if (conversion->to != NULL && sf_writef_int(conversion->to, conversion->block, n) != n)
			ereport(ERROR,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("could not write a file in musicverse.media_directory: %.100s", sf_strerror(conversion->to))));
		mv_media_check();
	}
	if (EVP_DigestFinal_ex(conversion->digest, digest, NULL) != 1)
		elog(ERROR, "could not compute a digest");
}

static void
close_both(Conversion *conversion)
{
	if (conversion->to != NULL)
		sf_close(conversion->to);
	mv_audio_close(conversion->from);
	EVP_MD_CTX_free(conversion->digest);
	memset(conversion, 0, offsetof(Conversion, block));
}

static void
convert(MvMediaTask *task, MvMediaResult *result)
{
	Conversion *conversion = palloc0(sizeof(Conversion));
	char	   *promised = mv_json_text(task->input, "sha256");
	MvMediaSource source;
	MvAudioInput input = {0};
	MvAudioFacts facts = {0};
	unsigned char written[32];
	unsigned char decoded[32];
	char		why[MV_AUDIO_ERROR] = "";

	mv_media_fetch(task, mv_json_text(task->input, "url"), &source);
	if (promised != NULL && strcmp(promised, source.sha256) != 0)
		refuse("is another one than before");
	input.fd = source.fd;
	input.bytes = source.bytes;
	PG_TRY();
	{
		open_both(conversion, &input, mv_media_output(task));
		pump(conversion, written);
		close_both(conversion);

		input.fd = mv_media_output(task);
		input.bytes = lseek(input.fd, 0, SEEK_END);
		conversion->from = mv_audio_open(&input, why);
		if (conversion->from == NULL)
			elog(ERROR, "the FLAC that was made %s", why);
		pump(conversion, decoded);
	}
	PG_FINALLY();
	{
		close_both(conversion);
	}
	PG_END_TRY();
	if (memcmp(written, decoded, sizeof(written)) != 0)
		elog(ERROR, "the FLAC that was made has other samples");
	mv_inspect(&input, &facts, mv_media_check);
	result->facts = mv_inspect_json(&facts);
	result->media_type = "audio/flac";
	result->extension = "flac";
}

const MvMediaKind mv_flac_kind = {"flac", convert};
