/*
 * Audio: whole files of each format, made by libsndfile, with bytes changed,
 * taken away and doubled as the input says. What is told of one is in bounds.
 */
#include "../../src/media/audio.c"

#include "fuzz.h"

#define FILES 6

typedef struct Bytes
{
	char	   *bytes;
	int64		len;
	int64		at;
} Bytes;

static Bytes files[FILES];

static sf_count_t
bytes_length(void *user)
{
	return ((Bytes *) user)->len;
}

static sf_count_t
bytes_seek(sf_count_t offset, int whence, void *user)
{
	Bytes	   *file = user;

	file->at = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file->at : file->len);
	return file->at;
}

static sf_count_t
bytes_read(void *into, sf_count_t n, void *user)
{
	Bytes	   *file = user;

	n = Min(n, file->len - file->at);
	if (n <= 0)
		return 0;
	memcpy(into, file->bytes + file->at, n);
	file->at += n;
	return n;
}

static sf_count_t
bytes_write(const void *from, sf_count_t n, void *user)
{
	Bytes	   *file = user;

	if (file->at + n > file->len)
	{
		file->bytes = realloc(file->bytes, file->at + n);
		file->len = file->at + n;
	}
	memcpy(file->bytes + file->at, from, n);
	file->at += n;
	return n;
}

static sf_count_t
bytes_tell(void *user)
{
	return ((Bytes *) user)->at;
}

static void
make(Bytes *file, int format, int channels)
{
	static SF_VIRTUAL_IO io = {bytes_length, bytes_seek, bytes_read, bytes_write, bytes_tell};
	SF_INFO		info = {.samplerate = 44100, .channels = channels, .format = format};
	SNDFILE    *sound = sf_open_virtual(&io, SFM_WRITE, &info, file);
	float		samples[1024];

	must(sound != NULL);
	for (int i = 0; i < lengthof(samples); i++)
		samples[i] = (float) ((i * 7919) % 1000) / 1000 - 0.5f;
	must(sf_writef_float(sound, samples, lengthof(samples) / channels) == lengthof(samples) / channels);
	sf_close(sound);
}

static void
make_files(void)
{
	static const int formats[FILES] = {
		SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, SF_FORMAT_WAV | SF_FORMAT_FLOAT,
		SF_FORMAT_AIFF | SF_FORMAT_PCM_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, SF_FORMAT_OGG | SF_FORMAT_VORBIS
	};

	for (int i = 0; i < FILES && files[i].bytes == NULL; i++)
		make(&files[i], formats[i], 1 + i % 2);
}

static void
look(const MvAudioInput *input)
{
	char		why[MV_AUDIO_ERROR] = "";
	MvAudioFacts facts = {0};
	MvAudio    *audio = mv_audio_open(input, why);
	int			steps = 0;

	if (audio == NULL)
	{
		must(why[0] != '\0');
		elog(ERROR, "%s", why);
	}
	while (mv_audio_step(audio, &facts, why))
		must(++steps < 1000000);
	mv_audio_close(audio);
	if (why[0] != '\0')
		elog(ERROR, "%s", why);
	must(facts.is_opaque || (facts.frames > 0 && facts.channels > 0 && facts.sample_rate > 0));
	must(facts.peak_count <= MV_PEAKS && facts.peak_count <= facts.frames);
	for (int i = 0; i < facts.peak_count; i++)
		must(facts.peaks[i] >= 0 && facts.peaks[i] <= 1);
	must(facts.silence_start >= 0 && facts.silence_start <= facts.duration && facts.silence_end >= 0);
}

/* Each three bytes are a change: where, and what */
static void
run_audio(const char *data, size_t len)
{
	MvAudioInput input = {.fd = -1};
	const Bytes *file;
	char	   *copy;
	int64		size;

	make_files();
	if (len == 0)
		return;
	file = &files[(unsigned char) data[0] % FILES];
	size = file->len;
	copy = palloc(size);
	memcpy(copy, file->bytes, size);
	for (size_t i = 1; i + 2 < len; i += 3)
	{
		int64		at = ((unsigned char) data[i] | (unsigned char) data[i + 1] << 8);

		/* headers are where it is interesting */
		at = (i % 2 ? at % 128 : at) % Max(size, 1);
		if (data[i + 2] == 'T')
			size = at;
		else if (size > 0)
			copy[at] = data[i + 2];
	}
	input.memory = copy;
	input.bytes = size;
	look(&input);
}

/* The input itself is the file */
static void
run_container(const char *data, size_t len)
{
	MvAudioInput input = {.memory = data, .fd = -1, .bytes = (int64) len};

	look(&input);
}

static const char *const changes[] = {"\xff\xff", "\x01", "T", "\x7f", "AAA", "\x80\x10\x20", "\x16\x01\x02", "(\x01\xff", "+\x01\x7f", NULL};
static const char *const words[] = {
	"RIFF", "RF64", "WAVE", "fmt ", "data", "LIST", "FORM", "AIFF", "AIFC", "COMM", "SSND", "fLaC", "OggS", "ID3", "\xff\xfb\x90", "ftyp", "M4A ", "\x10", "\x01",
	"\xff\xff\xff\xff", "\x80\x22", "    ", NULL
};

const FuzzTarget audio_targets[] = {
	{"audio", run_audio, changes},
	{"audio_container", run_container, words},
	{0}
};
