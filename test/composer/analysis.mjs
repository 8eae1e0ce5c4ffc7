/*
 * Listens to a WAV file for the tests: reads RIFF by itself, and measures what
 * can be measured of music. It shares no code with the composer.
 */
import fs from 'node:fs';

/* The chunks of a RIFF file as they stand; dies on what isn't PCM of 16 bits */
export function readWav(path) {
	const bytes = fs.readFileSync(path);
	if (bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8,
		12) !== 'WAVE') throw new Error(`${path} is not RIFF/WAVE`);
	const wav = { riffSize: bytes.readUInt32LE(4), fileSize: bytes.length };
	for (let at = 12; at + 8 <= bytes.length;) {
		const name = bytes.toString('latin1', at, at + 4);
		const size = bytes.readUInt32LE(at + 4);
		if (name === 'fmt ') {
			Object.assign(wav, {
				format: bytes.readUInt16LE(at + 8), channels: bytes.readUInt16LE(at + 10), rate: bytes.readUInt32LE(at + 12),
				byteRate: bytes.readUInt32LE(at + 16), align: bytes.readUInt16LE(at + 20), bits: bytes.readUInt16LE(at + 22),
			});
		} else if (name === 'data') {
			wav.dataSize = size;
			wav.samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset + at + 8, bytes.byteOffset + at + 8 + size));
		}
		at += 8 + size + (size & 1);
	}
	const frames = wav.samples.length / wav.channels;
	wav.left = new Float64Array(frames);
	wav.right = new Float64Array(frames);
	wav.mono = new Float64Array(frames);
	for (let i = 0; i < frames; i++) {
		wav.left[i] = wav.samples[2 * i] / 32768;
		wav.right[i] = wav.samples[2 * i + 1] / 32768;
		wav.mono[i] = (wav.left[i] + wav.right[i]) / 2;
	}
	wav.seconds = frames / wav.rate;
	return wav;
}

let cosines = [];
let sines = [];

/* Magnitudes of the first half of the spectrum, in place of re */
function transform(re, im) {
	const n = re.length;
	if (cosines.length !== n / 2) {
		cosines = Float64Array.from({ length: n / 2 }, (_, k) => Math.cos((-2 * Math.PI * k) / n));
		sines = Float64Array.from({ length: n / 2 }, (_, k) => Math.sin((-2 * Math.PI * k) / n));
	}
	for (let i = 1, j = 0; i < n; i++) {
		let bit = n >> 1;
		for (; j & bit; bit >>= 1) j ^= bit;
		j ^= bit;
		if (i < j) [re[i], re[j]] = [re[j], re[i]];
	}
	for (let size = 2; size <= n; size *= 2) {
		const stride = n / size;
		for (let k = 0; k < size / 2; k++) {
			const c = cosines[k * stride];
			const s = sines[k * stride];
			for (let i = k; i < n; i += size) {
				const j = i + size / 2;
				const x = re[j] * c - im[j] * s;
				const y = re[j] * s + im[j] * c;
				re[j] = re[i] - x;
				im[j] = im[i] - y;
				re[i] += x;
				im[i] += y;
			}
		}
	}
	for (let i = 0; i < n / 2; i++) re[i] = Math.hypot(re[i], im[i]);
}

export function* spectra(signal, size, hop) {
	const window = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
	const re = new Float64Array(size);
	const im = new Float64Array(size);
	for (let from = 0; from + size <= signal.length; from += hop) {
		for (let i = 0; i < size; i++) re[i] = signal[from + i] * window[i];
		im.fill(0);
		transform(re, im);
		yield re;
	}
}

const HOP = 441;

/* How much there is at each hundredth of a second that wasn't there before */
export function onsets(signal) {
	const out = [];
	let before = null;
	for (const spectrum of spectra(signal, 1024, HOP)) {
		const now = Float64Array.from(spectrum.subarray(1, 400), (x) => Math.log1p(80 * x));
		let flux = 0;
		if (before) for (let i = 0; i < now.length; i++) flux += Math.max(0, now[i] - before[i]);
		before = now;
		out.push(flux);
	}
	return out.map((value, i) => {
		const near = out.slice(Math.max(0, i - 40), i + 40);
		return Math.max(0, value - near.reduce((a, b) => a + b, 0) / near.length);
	});
}

/* Correlation of the onsets with themselves, seconds later */
function selfSimilarity(envelope, seconds) {
	const lag = (seconds * 44100) / HOP;
	const low = Math.floor(lag);
	const at = (l) => {
		let sum = 0;
		for (let i = 0; i + l < envelope.length; i++) sum += envelope[i] * envelope[i + l];
		return sum / (envelope.length - l);
	};
	return at(low) + (at(low + 1) - at(low)) * (lag - low);
}

/* The tempo between 50 and 200 whose beats, halves and bars repeat best */
export function tempo(signal) {
	const envelope = onsets(signal);
	let best = 0;
	let bestScore = -Infinity;
	for (let bpm = 50; bpm <= 200; bpm *= 1.004) {
		const beat = 60 / bpm;
		const score = [1, 2, 3, 4, 8].reduce((sum, n) => sum + selfSimilarity(envelope, beat * n), 0);
		if (score > bestScore) {
			bestScore = score;
			best = bpm;
		}
	}
	return best;
}

/* Share of each of the twelve pitch classes, 0 is C */
export function chroma(signal) {
	const size = 8192;
	const out = new Float64Array(12);
	for (const spectrum of spectra(signal, size, size / 2)) {
		for (let i = 2; i < spectrum.length - 1; i++) {
			const frequency = (i * 44100) / size;
			if (frequency < 100 || frequency > 2200 || spectrum[i] < spectrum[i - 1] || spectrum[i] < spectrum[i + 1]) continue;
			/* the top of the parabola through three bins */
			const [a, b, c] = [spectrum[i - 1], spectrum[i], spectrum[i + 1]].map((x) => Math.log(x + 1e-9));
			const exact = ((i + (0.5 * (a - c)) / (a - 2 * b + c)) * 44100) / size;
			const pitch = 69 + 12 * Math.log2(exact / 440);
			if (Math.abs(pitch - Math.round(pitch)) < 0.3) out[((Math.round(pitch) % 12) + 12) % 12] += spectrum[i];
		}
	}
	const sum = out.reduce((x, y) => x + y, 0);
	return out.map((x) => x / sum);
}

/* Krumhansl and Kessler: how much each step of a key is heard */
const PROFILES = {
	major: [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
	minor: [6.33, 2.68, 3.52, 5.38, 2.6, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
};

function correlation(x, y) {
	const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
	const [mx, my] = [mean(x), mean(y)];
	let [xy, xx, yy] = [0, 0, 0];
	for (let i = 0; i < x.length; i++) {
		xy += (x[i] - mx) * (y[i] - my);
		xx += (x[i] - mx) ** 2;
		yy += (y[i] - my) ** 2;
	}
	return xy / Math.sqrt(xx * yy);
}

/* The 24 keys, [correlation, tonic, mode], the likeliest first */
export function keys(shares) {
	const out = [];
	for (const [mode, profile] of Object.entries(PROFILES))
		for (let tonic = 0; tonic < 12; tonic++)
			out.push([correlation(Array.from(shares), shares.map((_, i) => profile[(i - tonic + 12) % 12])), tonic, mode]);
	return out.sort((a, b) => b[0] - a[0]);
}

/* Hz: where the middle of the spectrum's energy is */
export function centroid(signal) {
	let weighted = 0;
	let sum = 0;
	for (const spectrum of spectra(signal, 2048, 4096))
		for (let i = 1; i < spectrum.length; i++) {
			weighted += ((i * 44100) / 2048) * spectrum[i];
			sum += spectrum[i];
		}
	return weighted / sum;
}

/* dB of each octave from 31 Hz up to 16 kHz against the whole */
export function octaves(signal) {
	const bands = new Float64Array(10);
	for (const spectrum of spectra(signal, 4096, 8192))
		for (let i = 2; i < spectrum.length; i++) {
			const band = Math.round(Math.log2((i * 44100) / 4096 / 31.25));
			if (band >= 0 && band < 10) bands[band] += spectrum[i] ** 2;
		}
	const sum = bands.reduce((a, b) => a + b, 0);
	return Array.from(bands, (x) => Math.round(100 * Math.log10(x / sum)) / 10);
}

export const rms = (signal) => Math.sqrt(signal.reduce((sum, x) => sum + x * x, 0) / signal.length);
export const mean = (signal) => signal.reduce((sum, x) => sum + x, 0) / signal.length;
