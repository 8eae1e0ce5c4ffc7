/*
 * Invents a title: words of the prompt where they carry meaning, and words of
 * the mood beside them, in the language of the prompt.
 */
'use strict';

const WORDS = {
	en: {
		dark: [['Hollow', 'Broken', 'Midnight', 'Ashen', 'Fading', 'Silent', 'Iron', 'Lost'], ['Shadows', 'Rain', 'Embers', 'Winter',
			'Echoes', 'Tides', 'Ruins', 'Letters']],
		light: [['Golden', 'Open', 'Morning', 'Bright', 'Little', 'Rising', 'Endless', 'First'], ['Light', 'Roads', 'Skies', 'Gardens',
			'Summer', 'Rivers', 'Windows', 'Horizons']],
		stop: 'a an the and or of in on at for with to from by about very some any my your like as is are that this track song' +
			' music piece make create compose' +
			' generate please style bpm key minor major tempo fast slow beat background instrumental',
		join: (a, b) => `${a} ${b}`,
		about: (word, noun, rng) => rng.pick([`${word} ${noun}`, `${noun} of ${word}`, `The ${word} ${noun}`, `${word} and ${noun}`]),
	},
	ru: {
		dark: [['Последний', 'Забытый', 'Полночный', 'Тихий', 'Далёкий', 'Пепельный'], ['снег', 'берег', 'дождь', 'город', 'рассвет',
			'шёпот', 'огонь', 'след']],
		light: [['Золотой', 'Первый', 'Светлый', 'Утренний', 'Новый', 'Тёплый'], ['свет', 'день', 'путь', 'ветер', 'горизонт', 'сад',
			'берег', 'рассвет']],
		stop: 'и в на с со о об для из к по от до за музыка музыку трек песня песню мелодия мелодию композиция композицию сделай' +
			' создай напиши очень стиль стиле темп' +
			' мажор минор про уд бпм мин',
		join: (a, b) => `${a} ${b}`,
		about: (word, noun, rng) => rng.pick([`${word}: ${noun}`, `${word} и ${noun}`, `${word}, ${noun}`]),
	},
};

const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

function inventTitle({ prompt, words, mood }, rng, mode) {
	const language = /\p{Script=Cyrillic}/u.test(prompt) ? 'ru' : 'en';
	const { dark, light, stop, join, about } = WORDS[language];
	const [adjectives, nouns] = mood.valence < 0 || (mood.valence === 0 && mode !== 'major' && mode !== 'lydian') ? dark : light;
	const stops = new Set(stop.split(' '));
	const telling = words.filter((word) => /^\p{L}{3,14}$/u.test(word) && !stops.has(word));
	if (telling.length === 0 || rng.chance(0.25)) return join(rng.pick(adjectives), rng.pick(nouns));
	return about(capital(rng.pick(telling)), rng.pick(nouns), rng);
}

module.exports = { inventTitle };
