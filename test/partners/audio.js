/*
 * Real audio files, small and the same for the same name: noise of 44,100 Hz,
 * 16 bits, two channels unless said otherwise, as WAV or as FLAC whose samples stand as they are.
 */
'use strict';

const crypto = require('node:crypto');

const BLOCK = 1024;			/* frames in a frame of FLAC */

/* Samples of so many frames, big or little endian */
function noise(name, frames) {
	const bytes = Buffer.alloc(frames * 4);
	const key = crypto.createHash('sha256').update(name).digest();
	return crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(bytes);
}

function table(width, polynomial) {
	const top = 1 << (width - 1);
	const mask = 2 ** width - 1;
	return Uint32Array.from({ length: 256 }, (_, i) => {
		let crc = i << (width - 8);
		for (let bit = 0; bit < 8; bit++) crc = crc & top ? (crc << 1) ^ polynomial : crc << 1;
		return crc & mask;
	});
}

const crc8 = table(8, 0x07);
const crc16 = table(16, 0x8005);

const checksum8 = (bytes) => bytes.reduce((crc, byte) => crc8[crc ^ byte], 0);
const checksum16 = (bytes) => bytes.reduce((crc, byte) => ((crc << 8) & 0xffff) ^ crc16[(crc >> 8) ^ byte], 0);

/* As UTF-8 would, up to what three bytes hold */
function number(n) {
	if (n < 0x80) return [n];
	if (n < 0x800) return [0xc0 | (n >> 6), 0x80 | (n & 0x3f)];
	return [0xe0 | (n >> 12), 0x80 | ((n >> 6) & 0x3f), 0x80 | (n & 0x3f)];
}

function frame(samples, n) {
	const head = Buffer.from([0xff, 0xf8, 0xa9, 0x18, ...number(n)]);
	const channels = [Buffer.alloc(1 + BLOCK * 2, 2), Buffer.alloc(1 + BLOCK * 2, 2)];
	for (let i = 0; i < BLOCK; i++)
		for (let c = 0; c < 2; c++) samples.copy(channels[c], 1 + i * 2, (i * 2 + c) * 2, (i * 2 + c) * 2 + 2);
	const body = Buffer.concat([head, Buffer.from([checksum8(head)]), ...channels]);
	const crc = checksum16(body);
	return Buffer.concat([body, Buffer.from([crc >> 8, crc & 0xff])]);
}

/* Of so many blocks, each of which takes 4 KiB */
function flac(name, blocks) {
	const info = Buffer.alloc(42);
	info.write('fLaC');
	info.writeUInt32BE(0x80000022, 4);
	info.writeUInt16BE(BLOCK, 8);
	info.writeUInt16BE(BLOCK, 10);
	/* 20 bits of rate, 3 of channels, 5 of bits, 36 of length */
	info.writeUInt32BE((44100 << 12) | (1 << 9) | (15 << 4), 18);
	info.writeUInt32BE(blocks * BLOCK, 22);
	const samples = noise(name, blocks * BLOCK);
	return Buffer.concat([info, ...Array.from({ length: blocks }, (_, n) => frame(samples.subarray(n * BLOCK * 4, (n + 1) * BLOCK * 4), n))]);
}

/* how: channels, rate, bits, extensible */
function wav(name, frames, { channels = 2, rate = 44100, bits = 16, extensible = false } = {}) {
	const align = channels * bits / 8;
	const samples = noise(name, Math.ceil(frames * align / 4)).subarray(0, frames * align);
	const format = Buffer.alloc(extensible ? 40 : 16);
	format.writeUInt16LE(extensible ? 0xfffe : 1, 0);
	format.writeUInt16LE(channels, 2);
	format.writeUInt32LE(rate, 4);
	format.writeUInt32LE(rate * align, 8);
	format.writeUInt16LE(align, 12);
	format.writeUInt16LE(bits, 14);
	if (extensible) {
		format.writeUInt16LE(22, 16);
		format.writeUInt16LE(bits, 18);
		format.writeUInt32LE(2 ** channels - 1, 20);
		Buffer.from('0100000000001000800000aa00389b71', 'hex').copy(format, 24);
	}
	const number = (n) => { const bytes = Buffer.alloc(4); bytes.writeUInt32LE(n); return bytes; };
	return Buffer.concat([Buffer.from('RIFF'), number(20 + format.length + samples.length), Buffer.from('WAVEfmt '), number(format.length), format,
		Buffer.from('data'), number(samples.length), samples]);
}

module.exports = { flac, wav };
