/*
 * Facts of audio, for work on media.
 */
#ifndef MV_INSPECT_H
#define MV_INSPECT_H

#include "media/audio.h"
#include "media/media.h"

/* Looks at all of it; check is called between blocks, and may raise. Raises 22023 for what can't be read. */
extern void mv_inspect(const MvAudioInput *input, MvAudioFacts *facts, void (*check) (void));

/* For run(): steps for a slice of time. True when all was looked at and *facts is complete. Raises as above. */
extern bool mv_inspect_slice(MvAudio *audio, MvAudioFacts *facts);

/* As a JSON object */
extern char *mv_inspect_json(const MvAudioFacts *facts);

extern const MvMediaKind mv_inspect_kind;
extern const MvMediaKind mv_flac_kind;

#endif							/* MV_INSPECT_H */
