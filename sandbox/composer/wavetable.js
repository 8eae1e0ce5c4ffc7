/*
 * Band-limited tables of one period for the oscillators, one for each number
 * of harmonics that is a power of two, so that no note aliases. Tables are one
 * sample longer than a period: interpolation needs no wrap.
 */
'use strict';

const SR = 44100;
const SIZE = 2048;
const LEVELS = 10;

const SINE = new Float32Array(SIZE + 1);
for (let i = 0; i <= SIZE; i++) SINE[i] = Math.sin((2 * Math.PI * (i % SIZE)) / SIZE);

/* One table a level, holding harmonics 1..2^level, with the amplitudes that gain(h) says */
function family(gain) {
	const tables = [];
	const sum = new Float64Array(SIZE);
	let done = 0;
	for (let level = 0; level < LEVELS; level++) {
		for (; done < 1 << level; done++) {
			const h = done + 1;
			const g = gain(h);
			if (g !== 0) for (let i = 0; i < SIZE; i++) sum[i] += g * SINE[(h * i) & (SIZE - 1)];
		}
		const table = new Float32Array(SIZE + 1);
		table.set(sum);
		table[SIZE] = table[0];
		tables.push(table);
	}
	return tables;
}

const pulse = (width) => (h) => (4 / (Math.PI * h)) * Math.sin(Math.PI * h * width) * 0.5;

const WAVES = {
	sine: family((h) => (h === 1 ? 1 : 0)),
	saw: family((h) => (2 / Math.PI) * (1 / h)),
	square: family((h) => (h % 2 ? (4 / Math.PI) * (1 / h) * 0.7 : 0)),
	triangle: family((h) => (h % 2 ? (8 / Math.PI ** 2) * (h % 4 === 1 ? 1 : -1) * (1 / (h * h)) : 0)),
	pulse25: family(pulse(0.25)),
	pulse12: family(pulse(0.125)),
	/* drawbars, reeds and a breathy pipe, by their harmonics */
	organ: family((h) => ({ 1: 0.8, 2: 0.55, 3: 0.4, 4: 0.3, 6: 0.14, 8: 0.16 })[h] ?? 0),
	reed: family((h) => (h > 14 ? 0 : (h % 2 ? 0.6 : 0.16) / h ** 0.9)),
	flute: family((h) => [0, 0.8, 0.22, 0.1, 0.03, 0.015][h] ?? 0),
};

/* The richest table of a wave that stays below 20 kHz at this frequency */
function tableFor(wave, frequency) {
	const level = Math.floor(Math.log2(20000 / frequency));
	return WAVES[wave][Math.max(0, Math.min(LEVELS - 1, level))];
}

const hertz = (pitch) => 440 * 2 ** ((pitch - 69) / 12);

module.exports = { SR, SIZE, SINE, tableFor, hertz };
