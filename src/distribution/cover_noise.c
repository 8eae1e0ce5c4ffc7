/*
 * Chance for covers: streams of random numbers, and smooth noise.
 *
 * The same seed gives the same numbers in every process and version of the
 * server, which is why nothing of the server's own generators is used.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

static inline uint64
rotate_left(uint64 x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

/* xoshiro256** */
uint64
mv_random_next(MvRandom *random)
{
	uint64	   *s = random->state;
	uint64		result = rotate_left(s[1] * 5, 7) * 9;
	uint64		t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

MvRandom
mv_random_stream(const uint8 seed[32], const char *stage)
{
	MvRandom	random;
	uint64		hash = UINT64CONST(14695981039346656037);

	for (const char *p = stage; *p; p++)
		hash = (hash ^ (uint8) *p) * UINT64CONST(1099511628211);
	for (int i = 0; i < 4; i++)
	{
		uint64		word = 0;

		for (int byte = 0; byte < 8; byte++)
			word = word << 8 | seed[i * 8 + byte];
		random.state[i] = word ^ hash;
		hash = hash * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	}
	random.state[0] |= 1;		/* all zero would stay so */
	for (int i = 0; i < 8; i++)
		mv_random_next(&random);
	return random;
}

double
mv_random_unit(MvRandom *random)
{
	return (double) (mv_random_next(random) >> 11) * 0x1.0p-53;
}

double
mv_random_range(MvRandom *random, double low, double high)
{
	return low + (high - low) * mv_random_unit(random);
}

int
mv_random_below(MvRandom *random, int limit)
{
	return (int) (mv_random_unit(random) * limit);
}

/* The slope at a point of the grid, times the way to it */
static inline float
slope(int x, int y, uint32 seed, float dx, float dy)
{
	static const float direction[16][2] = {
		{1, 0}, {0.924f, 0.383f}, {0.707f, 0.707f}, {0.383f, 0.924f}, {0, 1}, {-0.383f, 0.924f}, {-0.707f, 0.707f}, {-0.924f, 0.383f},
		{-1, 0}, {-0.924f, -0.383f}, {-0.707f, -0.707f}, {-0.383f, -0.924f},
		{0, -1}, {0.383f, -0.924f}, {0.707f, -0.707f}, {0.924f, -0.383f},
	};
	uint32		hash = (uint32) x * 0x9E3779B1u ^ (uint32) y * 0x85EBCA77u ^ seed * 0xC2B2AE3Du;

	hash ^= hash >> 15;
	hash *= 0x2C1B3C6Du;
	hash ^= hash >> 12;
	return direction[hash & 15][0] * dx + direction[hash & 15][1] * dy;
}

/* Perlin's gradient noise */
float
mv_noise(float x, float y, uint32 seed)
{
	float		fx = floorf(x),
				fy = floorf(y);
	int			ix = (int) fx,
				iy = (int) fy;
	float		dx = x - fx,
				dy = y - fy;
	float		u = dx * dx * dx * (dx * (dx * 6 - 15) + 10);
	float		v = dy * dy * dy * (dy * (dy * 6 - 15) + 10);
	float		top = slope(ix, iy, seed, dx, dy) * (1 - u) + slope(ix + 1, iy, seed, dx - 1, dy) * u;
	float		bottom = slope(ix, iy + 1, seed, dx, dy - 1) * (1 - u) + slope(ix + 1, iy + 1, seed, dx - 1, dy - 1) * u;

	return 1.5f * (top * (1 - v) + bottom * v);
}

float
mv_noise_octaves(float x, float y, uint32 seed, int octaves)
{
	float		sum = 0,
				weight = 1,
				total = 0;

	for (int i = 0; i < octaves; i++)
	{
		sum += weight * mv_noise(x, y, seed + i * 101);
		total += weight;
		weight *= 0.5f;
		x = x * 2 + 17.3f;
		y = y * 2 - 9.1f;
	}
	return sum / total;
}
