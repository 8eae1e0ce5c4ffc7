/*
 * Reads what is wanted out of a prompt in English or Russian: style, mood,
 * tempo, key, metre and seed. What the caller says in params wins over the
 * prompt, the prompt over the style.
 *
 * A keyword matches the beginning of a word, as Russian endings change; with $
 * behind it, the whole word.
 */
'use strict';

const crypto = require('node:crypto');
const { MODES } = require('./theory.js');

/* Most specific first: the first style with the most hits wins */
const STYLE_WORDS = {
	chiptune: 'chiptune chip$ 8-bit 8bit 16bit nes$ gameboy arcade retro-game pixel чиптюн 8-бит 8бит восьмибит пиксел денди' +
		' приставк аркад',
	'lo-fi': 'lofi lo-fi chillhop study beats$ coffee cosy cozy rainy лоуфай лофай ло-фай учеб кофе уютн дожд',
	techno: 'techno electronic edm house trance club rave dance dnb dubstep synth electro техно электрон хаус транс клуб рейв' +
		' танцев синтез',
	synthwave: 'synthwave retrowave outrun vaporwave 80s 80-х eighties neon cyberpunk синтвейв ретровейв неон киберпанк восьмидесят',
	rock: 'rock metal punk grunge guitar$ riff garage рок$ рока$ роке$ металл панк гранж электрогитар рифф',
	jazz: 'jazz swing bebop blues bossa saxophone sax$ noir джаз свинг блюз босса саксофон нуар',
	ambient: 'ambient drone$ meditat space cosmic sleep atmospher soundscape yoga relax эмбиент медитац космос космич сон$ сна$' +
		' сонн атмосфер йога расслаб туман',
	folk: 'folk acoustic country celtic ballad-folk fiddle campfire medieval tavern irish village фолк народн акустич кантри кельт' +
		' костр средневек таверн дерев',
	ballad: 'piano ballad romantic love wedding lullaby tender пиано фортепиан пианин рояль баллад романтич любов любви свадьб' +
		' свадеб колыбел нежн',
	orchestral: 'orchestr symphon classical strings violin baroque waltz ballet fairy оркестр симфон классич скрипк струнн барокко' +
		' вальс балет сказ',
	cinematic: 'cinematic epic trailer soundtrack film$ movie battle war$ hero victory dragon adventure эпич эпос кинематограф кино' +
		' трейлер саундтрек фильм битв бой$ боя$ войн геро побед дракон приключ',
};

/* [words, energy, valence, mode the mood asks for, tempo] */
const MOODS = [
	['epic battle war$ power intense aggress эпич эпос битв войн мощн агресс бой$ боя$ ярост', 0.35, -0.1, 'minor', 1.06],
	['hero victory triumph glor anthem геро побед триумф торжеств слав гимн', 0.3, 0.3, 'major', 1.02],
	['sad melanchol lonel cry tears sorrow grief nostalg грустн груст печал печаль одинок слез слёз тоск меланхол ностальг', -0.2, -0.6,
		'minor', 0.88],
	['dark horror scary evil sinister gothic doom мрачн темн тёмн ужас страшн зловещ готич тьма тьмы', 0.05, -0.7, 'minor', 0.94],
	['happy joy cheer fun sunny bright summer uplift весел радост радостн счаст солнечн солнц светл летн лето задор', 0.15, 0.7, 'major',
		1.06],
	['calm peace gentle soft quiet relax dream sleep serene спокой тих мягк нежн мечт сон$ сонн умиротвор безмятеж', -0.3, 0.15, null,
		0.88],
	['energetic upbeat drive driving dynamic workout party энерг бодр драйв динамич вечерин зажигат', 0.3, 0.2, null, 1.08],
	['romantic love tender warm романт любов любви нежн тепл тёпл', -0.1, 0.4, 'major', 0.94],
	['mysterious mystic magic wonder fairy таинств загадоч мистич волшеб магич сказ', -0.05, -0.1, 'dorian', 0.96],
	['hope inspir motivat надежд вдохнов мотив', 0.1, 0.5, 'major', 1],
	['funky groov грув фанк', 0.1, 0.2, 'dorian', 1],
	['tense suspense thriller chase напряж погон триллер саспенс', 0.25, -0.4, 'phrygian', 1.06],
	['space cosmic star$ stars$ космос космич звезд звёзд', -0.1, 0.1, 'lydian', 0.96],
	['fast$ faster quick rapid speed быстр скорост стремит', 0.2, 0, null, 1.2],
	['slow$ slowly slower медлен неспешн', -0.15, 0, null, 0.78],
];

const SOLFEGE = { до: 0, ре: 2, ми: 4, фа: 5, соль: 7, ля: 9, си: 11 };
const LETTERS = { c: 0, d: 2, e: 4, f: 5, g: 7, a: 9, b: 11, h: 11 };
const MODE_WORDS = {
	minor: 'minor', min: 'minor', m: 'minor', major: 'major', maj: 'major', минор: 'minor', мажор: 'major', dorian: 'dorian',
	phrygian: 'phrygian', lydian: 'lydian', mixolydian: 'mixolydian',
};

function hits(words, stems) {
	let count = 0;
	for (const stem of stems.split(' ')) {
		const exact = stem.endsWith('$');
		const text = (exact ? stem.slice(0, -1) : stem).replaceAll('ё', 'е');
		if (words.some((word) => (exact ? word === text : word.replaceAll('ё', 'е').startsWith(text)))) count++;
	}
	return count;
}

function wordsOf(text) {
	const whole = text.normalize('NFKC').toLowerCase().match(/[\p{L}\p{N}#-]+/gu) ?? [];
	return [...new Set([...whole, ...whole.flatMap((word) => word.split('-'))])];
}

const LATIN_KEY =
	/(?:^|[^\p{L}])([a-h])\s?(#|♯|-?sharp|b|♭|-?flat)?[\s-]?(major|minor|maj|min|m|dorian|phrygian|lydian|mixolydian)(?!\p{L})(?!\s+key)/iu;

function readKey(text) {
	const latin = LATIN_KEY.exec(text);
	if (latin) {
		const bend = !latin[2] ? 0 : /#|♯|sharp/i.test(latin[2]) ? 1 : -1;
		return { tonic: (LETTERS[latin[1].toLowerCase()] + bend + 12) % 12, mode: MODE_WORDS[latin[3].toLowerCase()] };
	}
	const russian = /(?:^|[^\p{L}])(до|ре|ми|фа|соль|ля|си)[\s-]*(диез|бемоль)?[\s-]*(мажор|минор)/iu.exec(text);
	if (russian) {
		const bend = !russian[2] ? 0 : russian[2].toLowerCase() === 'диез' ? 1 : -1;
		return { tonic: (SOLFEGE[russian[1].toLowerCase()] + bend + 12) % 12, mode: MODE_WORDS[russian[3].toLowerCase()] };
	}
	return null;
}

function readTempo(text) {
	const found = /(\d{2,3}(?:[.,]\d+)?)\s*(?:bpm|уд(?:ар|\.|\/)|бпм)/iu.exec(text) ??
		/(?:bpm|бпм|tempo|темп)\s*[:=]?\s*(\d{2,3})/iu.exec(text);
	const bpm = found ? Number(found[1].replace(',', '.')) : null;
	return bpm !== null && bpm >= 40 && bpm <= 220 ? bpm : null;
}

/* The style that is meant, by name, else by the words of style and prompt, else by the mood */
function chooseStyle(style, words, styleWords, mood) {
	const name = (style ?? '').trim().toLowerCase();
	if (name in STYLE_WORDS) return name;
	let best = null;
	let most = 0;
	for (const [candidate, stems] of Object.entries(STYLE_WORDS)) {
		const count = 4 * hits(styleWords, stems) + hits(words, stems);
		if (count > most) {
			most = count;
			best = candidate;
		}
	}
	if (best) return best;
	if (mood.energy > 0.2) return mood.valence > 0.1 ? 'synthwave' : 'cinematic';
	if (mood.energy < -0.15) return mood.valence < -0.2 ? 'ballad' : 'ambient';
	return mood.valence > 0.3 ? 'folk' : mood.valence < -0.3 ? 'orchestral' : 'lo-fi';
}

/*
 * { prompt, style, duration, params } -> what the composer needs. bpm, tonic
 * and mode are null where neither prompt nor params say.
 */
function readPrompt({ prompt, style, duration, params = {} }) {
	const text = `${prompt} ${style ?? ''}`;
	const words = wordsOf(prompt);
	const styleWords = wordsOf(style ?? '');
	const mood = { energy: 0, valence: 0, mode: null, pace: 1 };
	for (const [stems, energy, valence, mode, pace] of MOODS) {
		if (hits([...words, ...styleWords], stems) === 0) continue;
		mood.energy += energy;
		mood.valence += valence;
		mood.mode ??= mode;
		mood.pace *= pace;
	}
	mood.energy = Math.max(-0.5, Math.min(0.5, mood.energy));
	mood.valence = Math.max(-1, Math.min(1, mood.valence));
	mood.pace = Math.max(0.7, Math.min(1.35, mood.pace));

	const key = (typeof params.key === 'string' ? readKey(params.key) : null) ?? readKey(text);
	const seed = params.seed ?? crypto.createHash('sha256').update(JSON.stringify([prompt, style ?? null])).digest().readUInt32LE(0);
	return {
		prompt, duration, mood, words,
		style: chooseStyle(style, words, styleWords, mood),
		bpm: Number.isFinite(params.bpm) ? Math.max(40, Math.min(220, params.bpm)) : readTempo(text),
		tonic: key?.tonic ?? null,
		mode: key?.mode ?? (params.mode in MODES ? params.mode : null),
		metre: hits([...words, ...styleWords], 'waltz вальс 3/4') > 0 ? 3 : 4,
		seed: String(seed),
	};
}

const STYLES = Object.keys(STYLE_WORDS);

module.exports = { readPrompt, STYLES, wordsOf };
