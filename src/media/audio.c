/*
 * Looking at audio with libsndfile. See audio.h.
 *
 * A file is somebody's: its container is judged here first, so that libsndfile
 * gets only the few formats that platforms take, of which the header promises
 * no more than is there; and what is decoded has a limit, as a file of a
 * megabyte may unfold to years of silence.
 */
#include "postgres.h"

#include <fcntl.h>
#include <math.h>
#include <sndfile.h>
#include <unistd.h>

#include "media/audio.h"

#define BLOCK_SAMPLES	32768
#define MOST_CHANNELS	64
#define LONGEST_S		(24 * 3600)
#define MOST_SAMPLES	(INT64CONST(1) << 34)
#define SILENCE			0.001f
#define BUCKETS			(2 * MV_PEAKS)

struct MvAudio
{
	MvAudioInput input;
	int64		position;
	SNDFILE    *file;
	SF_INFO		info;
	MvAudioFacts facts;
	float	   *block;
	float		full_scale;		/* from which on a sample is clipped */
	int64		first_sound;	/* frames; -1 = none yet */
	int64		last_sound;

	/* the greatest amplitude of each `frames_each` frames: twice as many each time there is no room */
	float		buckets[BUCKETS];
	int64		frames_each;
};

/* ---- bytes ---- */

static int64
read_at(const MvAudioInput *input, int64 at, void *into, int64 n)
{
	int64		got = 0;

	n = Min(n, input->bytes - at);
	if (n <= 0 || at < 0)
		return 0;
	if (input->memory != NULL)
	{
		memcpy(into, input->memory + at, n);
		return n;
	}
	while (got < n)
	{
		ssize_t		now = pread(input->fd, (char *) into + got, n - got, at + got);

		if (now < 0 && errno == EINTR)
			continue;
		if (now <= 0)
			break;
		got += now;
	}
	return got;
}

static sf_count_t
vio_length(void *user)
{
	return ((MvAudio *) user)->input.bytes;
}

static sf_count_t
vio_seek(sf_count_t offset, int whence, void *user)
{
	MvAudio    *audio = user;
	int64		base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? audio->position : audio->input.bytes;

	if (offset < -base || offset > INT64CONST(1) << 60)
		return -1;
	audio->position = base + offset;
	return audio->position;
}

static sf_count_t
vio_read(void *into, sf_count_t n, void *user)
{
	MvAudio    *audio = user;
	int64		got = n > 0 ? read_at(&audio->input, audio->position, into, n) : 0;

	audio->position += got;
	return got;
}

static sf_count_t
vio_write(const void *from, sf_count_t n, void *user)
{
	return 0;
}

static sf_count_t
vio_tell(void *user)
{
	return ((MvAudio *) user)->position;
}

static SF_VIRTUAL_IO virtual_io = {vio_length, vio_seek, vio_read, vio_write, vio_tell};

/* ---- the container ---- */

static uint32
number(const unsigned char *at, bool big_endian)
{
	if (big_endian)
		return (uint32) at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
	return (uint32) at[3] << 24 | at[2] << 16 | at[1] << 8 | at[0];
}

/*
 * Walks through the chunks of a WAV or AIFF up to the samples: are they all
 * there? True when they are.
 */
static bool
has_its_samples(const MvAudioInput *input, bool big_endian, const char *wanted, char *why)
{
	int64		at = 12;
	unsigned char head[8];

	for (int i = 0; i < 10000 && read_at(input, at, head, 8) == 8; i++)
	{
		int64		size = number(head + 4, big_endian);

		if (memcmp(head, wanted, 4) == 0)
		{
			if (size <= input->bytes - at - 8)
				return true;
			snprintf(why, MV_AUDIO_ERROR, "is cut off: its header promises " INT64_FORMAT " bytes of samples, " INT64_FORMAT " are there",
					 size, input->bytes - at - 8);
			return false;
		}
		at += 8 + size + (size & 1);
	}
	snprintf(why, MV_AUDIO_ERROR, "is not audio that can be read: it has a header and no samples");
	return false;
}

/* Is there a frame of MPEG audio? */
static bool
is_mpeg(const unsigned char *head)
{
	return memcmp(head, "ID3", 3) == 0 ||
		(head[0] == 0xff && (head[1] & 0xe0) == 0xe0 && (head[1] & 0x06) != 0 && (head[2] & 0xf0) != 0xf0);
}

/* Fills in what kind of file it is; false when it is none that is taken. */
static bool
recognise(MvAudio *audio, char *why)
{
	unsigned char head[12] = {0};
	const char *format = NULL;

	if (read_at(&audio->input, 0, head, sizeof(head)) < (int64) sizeof(head))
	{
		snprintf(why, MV_AUDIO_ERROR, "is not audio that can be read: it has " INT64_FORMAT " bytes", audio->input.bytes);
		return false;
	}
	if (memcmp(head, "RIFF", 4) == 0 && memcmp(head + 8, "WAVE", 4) == 0)
	{
		format = "wav";
		if (!has_its_samples(&audio->input, false, "data", why))
			return false;
	}
	else if (memcmp(head, "RF64", 4) == 0 && memcmp(head + 8, "WAVE", 4) == 0)
		format = "rf64";
	else if (memcmp(head, "FORM", 4) == 0 && memcmp(head + 8, "AIF", 3) == 0)
	{
		format = "aiff";
		if (!has_its_samples(&audio->input, true, "SSND", why))
			return false;
	}
	else if (memcmp(head, "fLaC", 4) == 0)
		format = "flac";
	else if (memcmp(head, "OggS", 4) == 0)
		format = "ogg";
	else if (memcmp(head + 4, "ftyp", 4) == 0)
		format = "m4a";
	else if (is_mpeg(head))
		format = "mp3";
	else
	{
		snprintf(why, MV_AUDIO_ERROR, "is not audio that can be read: it is neither WAV, AIFF, FLAC, Ogg, MP3 nor M4A");
		return false;
	}
	strlcpy(audio->facts.format, format, sizeof(audio->facts.format));
	return true;
}

/* ---- stderr ---- */

/*
 * The decoder of MP3 tells the standard error, which is the server's log, of
 * each byte that it doesn't like; anybody's file could fill it. Nothing of ours
 * is written while it is turned away.
 */
static int
hush(const MvAudio *audio)
{
	int			kept = -1;
	int			nowhere;

	if (strcmp(audio->facts.format, "mp3") != 0 || (nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
		return -1;
	kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (kept >= 0)
		dup2(nowhere, STDERR_FILENO);
	close(nowhere);
	return kept;
}

static void
speak(int kept)
{
	if (kept < 0)
		return;
	dup2(kept, STDERR_FILENO);
	close(kept);
}

/* ---- opening ---- */

static void
read_subtype(MvAudio *audio)
{
	static const struct
	{
		const char *codec;
		int			subtype;
		int			bits;
	}			known[] = {
		{"pcm", SF_FORMAT_PCM_S8, 8}, {"pcm", SF_FORMAT_PCM_U8, 8}, {"pcm", SF_FORMAT_PCM_16, 16}, {"pcm", SF_FORMAT_PCM_24, 24},
		{"pcm", SF_FORMAT_PCM_32, 32}, {"float", SF_FORMAT_FLOAT, 32}, {"float", SF_FORMAT_DOUBLE, 64}, {"vorbis", SF_FORMAT_VORBIS, 0},
		/* not in older headers: OPUS, MPEG_LAYER_I to III */
		{"opus", 0x0064, 0}, {"mpeg", 0x0080, 0}, {"mpeg", 0x0081, 0}, {"mpeg", 0x0082, 0}
	};
	MvAudioFacts *facts = &audio->facts;
	int			subtype = audio->info.format & SF_FORMAT_SUBMASK;

	for (int i = 0; i < lengthof(known); i++)
		if (known[i].subtype == subtype)
		{
			strlcpy(facts->codec, known[i].codec, sizeof(facts->codec));
			facts->bit_depth = known[i].bits;
		}
	if (strcmp(facts->format, "flac") == 0)
		strlcpy(facts->codec, "flac", sizeof(facts->codec));
	facts->is_extensible = (audio->info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_WAVEX;
	audio->full_scale = facts->bit_depth > 0 && facts->bit_depth <= 24 && strcmp(facts->codec, "float") != 0 ?
		1.0f - 1.0f / (float) (1 << (facts->bit_depth - 1)) : 1.0f;
}

static bool
open_sound(MvAudio *audio, char *why)
{
	SF_INFO    *info = &audio->info;
	int			kept = hush(audio);

	audio->file = sf_open_virtual(&virtual_io, SFM_READ, info, audio);
	speak(kept);
	if (audio->file == NULL)
	{
		snprintf(why, MV_AUDIO_ERROR, "is not audio that can be read: it is a damaged %s, or of a kind that is not known",
				 audio->facts.format);
		return false;
	}
	if (info->channels < 1 || info->channels > MOST_CHANNELS)
		snprintf(why, MV_AUDIO_ERROR, "has %d channels: at most %d can be read", info->channels, MOST_CHANNELS);
	else if (info->samplerate < 1 || info->samplerate > 1536000)
		snprintf(why, MV_AUDIO_ERROR, "has %d samples a second, which no audio has", info->samplerate);
	else
	{
		audio->facts.channels = info->channels;
		audio->facts.sample_rate = info->samplerate;
		read_subtype(audio);
		audio->block = malloc(BLOCK_SAMPLES * sizeof(float));
		if (audio->block != NULL)
			return true;
		snprintf(why, MV_AUDIO_ERROR, "could not be read: out of memory");
	}
	return false;
}

MvAudio *
mv_audio_open(const MvAudioInput *input, char *why)
{
	MvAudio    *audio = calloc(1, sizeof(MvAudio));

	if (audio == NULL)
	{
		snprintf(why, MV_AUDIO_ERROR, "could not be read: out of memory");
		return NULL;
	}
	audio->input = *input;
	audio->frames_each = 1;
	audio->first_sound = -1;
	if (recognise(audio, why))
	{
		audio->facts.is_opaque = strcmp(audio->facts.format, "m4a") == 0;
		if (audio->facts.is_opaque || open_sound(audio, why))
			return audio;
	}
	mv_audio_close(audio);
	return NULL;
}

const MvAudioFacts *
mv_audio_facts(const MvAudio *audio)
{
	return &audio->facts;
}

int64
mv_audio_read_ints(MvAudio *audio, int *block, int64 frames)
{
	int64		n = audio->file == NULL ? 0 : sf_readf_int(audio->file, block, frames);

	return Max(n, 0);
}

void
mv_audio_close(MvAudio *audio)
{
	if (audio == NULL)
		return;
	if (audio->file != NULL)
		sf_close(audio->file);
	free(audio->block);
	free(audio);
}

/* ---- samples ---- */

static void
halve_buckets(MvAudio *audio)
{
	for (int i = 0; i < MV_PEAKS; i++)
		audio->buckets[i] = Max(audio->buckets[2 * i], audio->buckets[2 * i + 1]);
	memset(audio->buckets + MV_PEAKS, 0, sizeof(float) * MV_PEAKS);
	audio->frames_each *= 2;
}

/* False when one of them is no number. */
static bool
take_frames(MvAudio *audio, int64 n)
{
	MvAudioFacts *facts = &audio->facts;
	const float *at = audio->block;

	for (int64 i = 0; i < n; i++)
	{
		int64		frame = facts->frames++;
		float		loudest = 0;

		for (int c = 0; c < facts->channels; c++)
		{
			float		sample = fabsf(*at++);

			if (!isfinite(sample))
				return false;
			facts->clipped += sample >= audio->full_scale;
			loudest = Max(loudest, sample);
		}
		if (loudest >= SILENCE)
		{
			if (audio->first_sound < 0)
				audio->first_sound = frame;
			audio->last_sound = frame;
		}
		if (frame / audio->frames_each >= BUCKETS)
			halve_buckets(audio);
		frame /= audio->frames_each;
		audio->buckets[frame] = Max(audio->buckets[frame], loudest);
	}
	return true;
}

/* Of 512 to 1024 buckets MV_PEAKS peaks; each is the greatest of those that it touches */
static void
finish(MvAudio *audio)
{
	MvAudioFacts *facts = &audio->facts;
	int64		used = (facts->frames + audio->frames_each - 1) / audio->frames_each;

	facts->peak_count = (int) Min(used, MV_PEAKS);
	for (int i = 0; i < facts->peak_count; i++)
	{
		int64		first = used * i / facts->peak_count;
		int64		last = Max((used * (i + 1) - 1) / facts->peak_count, first);
		float		peak = 0;

		for (int64 b = first; b <= last; b++)
			peak = Max(peak, audio->buckets[b]);
		facts->peaks[i] = Min(peak, 1.0f);
	}
	facts->duration = (double) facts->frames / facts->sample_rate;
	facts->silence_start = (double) (audio->first_sound < 0 ? facts->frames : audio->first_sound) / facts->sample_rate;
	facts->silence_end = audio->first_sound < 0 ? facts->duration : (double) (facts->frames - 1 - audio->last_sound) / facts->sample_rate;
}

/* All is read. Was it what was promised? */
static void
judge(MvAudio *audio, char *why)
{
	const MvAudioFacts *facts = &audio->facts;
	int64		promised = audio->info.frames;
	bool		exact = strcmp(facts->format, "mp3") != 0 && strcmp(facts->format, "ogg") != 0 &&
		promised > 0 && promised < PG_INT64_MAX / 2;

	if (sf_error(audio->file) != SF_ERR_NO_ERROR)
		snprintf(why, MV_AUDIO_ERROR, "is damaged after " INT64_FORMAT " frames: %.150s", facts->frames, sf_strerror(audio->file));
	else if (facts->frames == 0)
		snprintf(why, MV_AUDIO_ERROR, "has no sound: 0 frames");
	else if (exact && facts->frames < promised)
		snprintf(why, MV_AUDIO_ERROR, "is cut off: its header promises " INT64_FORMAT " frames, " INT64_FORMAT " are there",
				 promised, facts->frames);
}

bool
mv_audio_step(MvAudio *audio, MvAudioFacts *facts, char *why)
{
	MvAudioFacts *mine = &audio->facts;
	int64		n;
	int			kept;

	why[0] = '\0';
	if (mine->is_opaque)
	{
		*facts = *mine;
		return false;
	}
	kept = hush(audio);
	n = sf_readf_float(audio->file, audio->block, BLOCK_SAMPLES / mine->channels);
	speak(kept);
	if (n <= 0)
	{
		judge(audio, why);
		if (why[0] == '\0')
			finish(audio);
		*facts = *mine;
		return false;
	}
	if (!take_frames(audio, n))
		snprintf(why, MV_AUDIO_ERROR, "has samples that are no numbers, the first in frame " INT64_FORMAT, mine->frames);
	else if (mine->frames / mine->sample_rate >= LONGEST_S || mine->frames * mine->channels >= MOST_SAMPLES)
		snprintf(why, MV_AUDIO_ERROR, "is longer than %d hours", LONGEST_S / 3600);
	return why[0] == '\0';
}
