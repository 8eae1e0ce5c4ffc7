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

typedef enum Phase
{
	WRITING,
	VERIFYING,
	INSPECTING
} Phase;

typedef struct Conversion
{
	Phase		phase;
	MvAudio    *from;
	SNDFILE    *to;
	EVP_MD_CTX *digest;
	unsigned char written[32];
	unsigned char decoded[32];
	MvAudioFacts facts;
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

/* Reads what there is, for a slice of time, into the digest, and into the other file if there is one. True at its end. */
static bool
pump(Conversion *conversion, unsigned char digest[32])
{
	int			channels = mv_audio_facts(conversion->from)->channels;
	int64		n;

	if (conversion->digest == NULL)
	{
		conversion->digest = EVP_MD_CTX_new();
		if (conversion->digest == NULL || EVP_DigestInit_ex(conversion->digest, EVP_sha256(), NULL) != 1)
			elog(ERROR, "could not compute a digest");
	}
	while ((n = mv_audio_read_ints(conversion->from, conversion->block, BLOCK_SAMPLES / channels)) > 0)
	{
		if (EVP_DigestUpdate(conversion->digest, conversion->block, n * channels * sizeof(int)) != 1)
			elog(ERROR, "could not compute a digest");
		if (conversion->to != NULL && sf_writef_int(conversion->to, conversion->block, n) != n)
			ereport(ERROR,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("could not write a file in musicverse.media_directory: %.100s", sf_strerror(conversion->to))));
		mv_media_check();
		if (mv_media_slice_over())
			return false;
	}
	if (EVP_DigestFinal_ex(conversion->digest, digest, NULL) != 1)
		elog(ERROR, "could not compute a digest");
	return true;
}

static void
close_both(Conversion *conversion)
{
	if (conversion->to != NULL)
		sf_close(conversion->to);
	if (conversion->from != NULL)
		mv_audio_close(conversion->from);
	EVP_MD_CTX_free(conversion->digest);
	conversion->to = NULL;
	conversion->from = NULL;
	conversion->digest = NULL;
}

/* From its first sample on */
static void
open_result(Conversion *conversion, MvMediaTask *task)
{
	MvAudioInput input = {.fd = mv_media_output(task)};
	char		why[MV_AUDIO_ERROR] = "";

	close_both(conversion);
	input.bytes = lseek(input.fd, 0, SEEK_END);
	conversion->from = mv_audio_open(&input, why);
	if (conversion->from == NULL)
		elog(ERROR, "the FLAC that was made %s", why);
}

static Conversion *
begin_conversion(MvMediaTask *task, const MvMediaSource *source)
{
	Conversion *conversion;
	MvAudioInput input = {.fd = source->fd, .bytes = source->bytes};
	char	   *promised = mv_json_text(task->input, "sha256");

	if (promised != NULL && strcmp(promised, source->sha256) != 0)
		refuse("is another one than before");
	conversion = palloc0(sizeof(Conversion));
	task->state = conversion;
	open_both(conversion, &input, mv_media_output(task));
	return conversion;
}

static bool
convert(MvMediaTask *task, MvMediaResult *result)
{
	Conversion *conversion = task->state;
	MvMediaSource source;

	if (conversion == NULL)
	{
		if (!mv_media_fetch(task, mv_json_text(task->input, "url"), &source))
			return false;
		conversion = begin_conversion(task, &source);
	}
	if (conversion->phase == WRITING)
	{
		if (!pump(conversion, conversion->written))
			return false;
		open_result(conversion, task);
		conversion->phase = VERIFYING;
	}
	if (conversion->phase == VERIFYING)
	{
		if (!pump(conversion, conversion->decoded))
			return false;
		if (memcmp(conversion->written, conversion->decoded, sizeof(conversion->written)) != 0)
			elog(ERROR, "the FLAC that was made has other samples");
		open_result(conversion, task);
		conversion->phase = INSPECTING;
	}
	if (!mv_inspect_slice(conversion->from, &conversion->facts))
		return false;
	result->facts = mv_inspect_json(&conversion->facts);
	result->media_type = "audio/flac";
	result->extension = "flac";
	return true;
}

static void
end_conversion(MvMediaTask *task)
{
	if (task->state != NULL)
		close_both(task->state);
}

const MvMediaKind mv_flac_kind = {"flac", convert, end_conversion};
