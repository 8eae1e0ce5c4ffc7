/*
 * Scales, chords by Roman numeral, progressions and voice leading.
 *
 * A numeral's root is a degree of the mode at hand ("VI" in minor is the minor
 * sixth), its case decides the third, a suffix the rest: "V7" is a dominant in
 * minor too. Pitches are MIDI numbers, 60 is middle C.
 */
'use strict';

const MODES = {
	major: [0, 2, 4, 5, 7, 9, 11],
	minor: [0, 2, 3, 5, 7, 8, 10],
	dorian: [0, 2, 3, 5, 7, 9, 10],
	phrygian: [0, 1, 3, 5, 7, 8, 10],
	lydian: [0, 2, 4, 6, 7, 9, 11],
	mixolydian: [0, 2, 4, 5, 7, 9, 10],
};

const NAMES = ['C', 'C#', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B'];
const NUMERALS = ['I', 'II', 'III', 'IV', 'V', 'VI', 'VII'];

const SUFFIXES = {
	'': [], 5: [], 6: [9], 7: [10], maj7: [11], 9: [10, 14], maj9: [11, 14], add9: [14], 11: [10, 14, 17], 13: [10, 21],
	sus4: [], sus2: [],
};

const modulo = (value, size) => ((value % size) + size) % size;

const isDark = (mode) => MODES[mode][2] === 3;

function keyName(tonic, mode) {
	return `${NAMES[tonic]} ${mode}`;
}

/* { root, tones, pcs, scale }: tones in semitones above the root, scale as the mode's, bent to hold the chord */
function chordOf(numeral, tonic, mode) {
	const [, accidental, degree, diminished, suffix] =
		/^([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(o?)(.*)$/.exec(numeral) ?? [];
	if (!degree || !(suffix in SUFFIXES)) throw new Error(`no such chord: "${numeral}"`);
	const scale = MODES[mode];
	const bend = accidental === 'b' ? -1 : accidental === '#' ? 1 : 0;
	const root = modulo(tonic + scale[NUMERALS.indexOf(degree.toUpperCase())] + bend, 12);
	const third = suffix === 'sus4' ? 5 : suffix === 'sus2' ? 2 : degree === degree.toUpperCase() ? 4 : 3;
	const tones = suffix === '5' ? [0, 7] : [0, third, diminished ? 6 : 7, ...SUFFIXES[suffix]];
	const pcs = tones.map((tone) => modulo(root + tone, 12));

	/* a chord tone outside the scale displaces the scale's tone that is a semitone away */
	const local = scale.slice();
	for (const pc of pcs) {
		const relative = modulo(pc - tonic, 12);
		if (local.includes(relative)) continue;
		const near = local.findIndex((tone) => Math.abs(tone - relative) === 1 && !pcs.includes(modulo(tone + tonic, 12)));
		if (near > 0) local[near] = relative;
	}
	return { numeral, root, tones, pcs, scale: local };
}

/* The pitch of a step of the scale: 0 is the tonic at or above pitch base, 7 its octave */
function pitchOf(step, tonic, scale, base = 60) {
	const floor = base + modulo(tonic - base, 12);
	return floor + 12 * Math.floor(step / 7) + scale[modulo(step, 7)];
}

/* The pitch with this pitch class that is nearest to where */
function nearest(pc, where) {
	const below = where - modulo(where - pc, 12);
	return where - below <= below + 12 - where ? below : below + 12;
}

/*
 * Voices for a chord between low and high that move as little as possible from
 * those before. Four voices of a bigger chord leave out the fifth.
 */
function voicing(chord, count, low, high, before) {
	let pcs = [...new Set(chord.pcs)];
	if (pcs.length > count && pcs.length > 3) pcs = pcs.filter((pc) => pc !== modulo(chord.root + 7, 12));
	if (pcs.length > count) pcs = [...pcs.slice(1, 2), ...pcs.slice(-(count - 1))];
	const centre = (low + high) / 2;
	let best = null;
	let bestCost = Infinity;
	for (let bottom = low; bottom < low + 12; bottom++) {
		if (!pcs.includes(modulo(bottom, 12))) continue;
		for (const open of [false, true]) {
			const voices = [bottom];
			let pc = pcs.indexOf(modulo(bottom, 12));
			while (voices.length < count) {
				pc = (pc + (open && voices.length < 3 ? 2 : 1)) % pcs.length;
				const above = voices[voices.length - 1] + 1;
				voices.push(above + modulo(pcs[pc] - above, 12));
			}
			if (voices[count - 1] > high || new Set(voices.map((v) => v % 12)).size < Math.min(count, pcs.length)) continue;
			let cost = Math.abs(voices.reduce((a, b) => a + b, 0) / count - centre) * 0.6;
			for (let i = 0; i < count; i++) {
				if (before) cost += Math.abs(voices[i] - (before[i] ?? voices[i]));
				if (i > 0 && voices[i] - voices[i - 1] < 2) cost += 3;
				if (i > 0 && voices[i] < 52 && voices[i] - voices[i - 1] < 5) cost += 4;
			}
			if (cost < bestCost) {
				bestCost = cost;
				best = voices;
			}
		}
	}
	/* a range too narrow for that many voices: near the middle */
	return best ?? Array.from({ length: count }, (_, i) => nearest(pcs[i % pcs.length], centre + 4 * (i - count / 2))).sort((a,
		b) => a - b);
}

/* Progressions by flavour; a chord lasts a bar, or as long as the style says */
const PROGRESSIONS = {
	minor: {
		verse: ['i VI III VII', 'i iv VI V', 'i VII VI VII', 'i v VI iv', 'i III VII iv', 'i VI iv V'],
		chorus: ['VI VII i i', 'i VI III VII', 'VI III VII i', 'i VII VI V', 'iv VI i VII', 'VI VII i III'],
		bridge: ['iv i VI V', 'VI VI iv V', 'III VII iv V', 'iv VII III V'],
	},
	major: {
		verse: ['I V vi IV', 'I vi IV V', 'I IV vi V', 'I iii IV V', 'I IV I V', 'vi IV I V'],
		chorus: ['IV I V vi', 'I V vi IV', 'IV V I vi', 'vi IV I V', 'I V IV V'],
		bridge: ['ii IV vi V', 'vi iii IV V', 'IV V vi V', 'ii V iii IV'],
	},
	dorian: {
		verse: ['i IV i VII', 'i VII IV i', 'i III IV i', 'i v IV i'],
		chorus: ['III VII i IV', 'i VII IV IV', 'VII IV i i', 'i IV VII i'],
		bridge: ['IV VII i v', 'III IV i VII'],
	},
	mixolydian: {
		verse: ['I VII IV I', 'I IV I VII', 'I v IV I'],
		chorus: ['IV I VII I', 'I VII IV IV', 'VII IV I I'],
		bridge: ['ii IV VII IV', 'vi VII IV VII'],
	},
	lydian: {
		verse: ['Imaj7 II Imaj7 vi7', 'Imaj7 iii7 II vi7', 'Imaj7 Vadd9 vi7 II'],
		chorus: ['II vi7 Vadd9 Imaj7', 'Imaj7 II iii7 vi7'],
		bridge: ['vi7 II vi7 Vadd9', 'iii7 vi7 II II'],
	},
	phrygian: {
		verse: ['i II i II', 'i i II i', 'i VI II i'],
		chorus: ['i II III II', 'VI II i i', 'i VII II i'],
		bridge: ['VI III II II', 'iv VI II i'],
	},
	/* sevenths and ninths */
	jazzmajor: {
		verse: ['Imaj9 vi9 ii9 V13', 'ii9 V13 Imaj9 VI7', 'iii7 VI7 ii9 V13', 'Imaj9 IVmaj7 iii7 VI7'],
		chorus: ['IVmaj9 V13 iii7 vi9', 'ii9 V13 iii7 VI7', 'Imaj9 I9 IVmaj9 V13'],
		bridge: ['IVmaj9 iv6 iii7 VI7', 'ii9 iii7 IVmaj9 V13'],
	},
	jazzminor: {
		verse: ['i9 iv9 iio7 V7', 'i9 VImaj7 iio7 V7', 'iv9 VII13 IIImaj7 V7', 'i9 VII13 VImaj7 V7'],
		chorus: ['iv9 VII13 IIImaj9 VImaj7', 'VImaj9 V7 i9 i9', 'iv9 V7 i9 VImaj7'],
		bridge: ['IIImaj9 VImaj7 iio7 V7', 'iv9 i9 iio7 V7'],
	},
	lofimajor: {
		verse: ['Imaj9 iii7 vi9 IVmaj9', 'IVmaj9 iii7 vi9 Imaj9', 'ii9 V13 Imaj9 vi9', 'Imaj9 vi9 IVmaj9 V13'],
		chorus: ['IVmaj9 V13 iii7 vi9', 'vi9 IVmaj9 Imaj9 V13', 'IVmaj9 iii7 ii9 Imaj9'],
		bridge: ['ii9 iii7 IVmaj9 IVmaj9', 'vi9 iii7 IVmaj9 V13'],
	},
	lofiminor: {
		verse: ['i9 iv9 VImaj9 v7', 'i9 VImaj9 IIImaj9 VII13', 'VImaj9 VII13 i9 i9', 'iv9 VII13 i9 VImaj9'],
		chorus: ['VImaj9 v7 iv9 i9', 'iv9 v7 VImaj9 VII13', 'VImaj9 VII13 v7 i9'],
		bridge: ['iv9 iv9 v7 v7', 'VImaj9 IIImaj9 iv9 VII13'],
	},
	ambientmajor: {
		verse: ['Imaj9 IVmaj9', 'Imaj9 vi9', 'Iadd9 iii7 IVmaj9 vi9', 'IVmaj9 Imaj9'],
		chorus: ['IVmaj9 vi9 Imaj9 Vsus4', 'vi9 IVmaj9 Iadd9 Vadd9'],
		bridge: ['ii9 IVmaj9', 'vi9 iii7'],
	},
	ambientminor: {
		verse: ['i9 VImaj9', 'iadd9 iv9', 'i9 v7 VImaj9 iv9'],
		chorus: ['VImaj9 VIIadd9 i9 v7', 'iv9 VImaj9 i9 VIIsus4'],
		bridge: ['iv9 VImaj9', 'IIImaj9 iv9'],
	},
	clubminor: {
		verse: ['i i i i', 'i i VI VI', 'i i iv iv', 'i i VII VII'],
		chorus: ['i VI III VII', 'VI VI VII i', 'i i VI VII', 'iv VI i VII'],
		bridge: ['VI VII i v', 'iv iv VI VII'],
	},
	clubmajor: {
		verse: ['I I IV IV', 'vi vi IV IV', 'I I vi vi'],
		chorus: ['IV V vi I', 'vi IV I V', 'I V vi IV'],
		bridge: ['IV IV vi V', 'ii IV vi V'],
	},
};

/* Four chords or more for a kind of section; the flavour falls back to the mode's own */
function progression(rng, flavour, mode, kind) {
	const table = PROGRESSIONS[flavour + (isDark(mode) ? 'minor' : 'major')];
	const plain = mode === 'major' || mode === 'minor';
	const chosen = table && plain ? table : PROGRESSIONS[mode];
	return rng.pick(chosen[kind]).split(' ');
}

module.exports = { MODES, NAMES, modulo, isDark, keyName, chordOf, pitchOf, nearest, voicing, progression };
