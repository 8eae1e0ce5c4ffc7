/*
 * Looking at audio: what a file is, and what its samples are like. Read from
 * memory or from a descriptor, block by block: memory is the same for a second
 * and for hours.
 *
 * Nothing here raises or allocates by palloc; only what libsndfile and two
 * blocks need is taken by malloc. A caller opens, steps until there is nothing
 * more, checking for interrupts in between, and closes, whatever happens.
 */
#ifndef MV_AUDIO_H
#define MV_AUDIO_H

#include "postgres.h"

#define MV_PEAKS		512
#define MV_AUDIO_ERROR	256

typedef struct MvAudioFacts
{
	char		format[8];		/* wav, rf64, aiff, flac, ogg, mp3, m4a */
	char		codec[8];		/* pcm, float, flac, vorbis, opus, mpeg; "" = another, or not looked at */
	bool		is_extensible;	/* a WAV whose format tag is 0xFFFE */
	bool		is_opaque;		/* of what follows nothing is known: this server can't decode it */
	int			channels;
	int			sample_rate;
	int			bit_depth;		/* 0 = has none */
	int64		frames;
	double		duration;		/* seconds */
	int			peak_count;		/* MV_PEAKS, or fewer when there are fewer frames */
	float		peaks[MV_PEAKS];	/* the greatest amplitude in each part of the same length, 0..1 */
	int64		clipped;		/* samples at full scale */
	double		silence_start;	/* seconds below -60 dB */
	double		silence_end;
} MvAudioFacts;

typedef struct MvAudio MvAudio;

typedef struct MvAudioInput
{
	const char *memory;			/* or NULL: */
	int			fd;
	int64		bytes;
} MvAudioInput;

/*
 * NULL when it can't be looked at, and why (of MV_AUDIO_ERROR bytes) says what
 * is wrong with it, to follow "the file ".
 */
extern MvAudio *mv_audio_open(const MvAudioInput *input, char *why);

/*
 * Reads a block. False when there is none; then *facts is complete, or why says
 * what is wrong.
 */
extern bool mv_audio_step(MvAudio *audio, MvAudioFacts *facts, char *why);

/* What is known before the first block: the format, channels, rate and bits. */
extern const MvAudioFacts *mv_audio_facts(const MvAudio *audio);

/* Instead of steps: so many frames as int32 at full scale. How many there were; 0 = no more. */
extern int64 mv_audio_read_ints(MvAudio *audio, int *block, int64 frames);

extern void mv_audio_close(MvAudio *audio);

#endif							/* MV_AUDIO_H */
