/*
 * Makes inputs and runs the targets: fuzz SECONDS [SEED [TARGET]]
 *
 * The seconds are shared by the targets. The same seed gives the same inputs,
 * in the same order; how many of them fit into the time differs. An input is
 * pieced together from a target's words, their fragments, and random bytes, or
 * is the one before with some bytes changed. The last line for each target is
 * "name: N runs, M errors". A failure shows the input as a C string.
 */
#include "fuzz.h"

#include <stdio.h>
#include <time.h>

#define MAX_INPUT 40000

static uint64 state;
static char input[MAX_INPUT];
static size_t input_len;
static const FuzzTarget *current;

/* splitmix64 */
static uint64
next(void)
{
	uint64		z = (state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static size_t
below(size_t n)
{
	return n == 0 ? 0 : next() % n;
}

static void
show_input(void)
{
	fprintf(stderr, "\ntarget %s, input of %zu bytes: \"", current->name, input_len);
	for (size_t i = 0; i < input_len; i++)
		fprintf(stderr, input[i] >= ' ' && input[i] <= '~' && input[i] != '"' && input[i] != '\\' ? "%c" : "\\%03o",
				(unsigned char) input[i]);
	fprintf(stderr, "\"\n");
}

void
fuzz_failed(const char *condition)
{
	fprintf(stderr, "not so: %s", condition);
	show_input();
	abort();
}

/* Called by the sanitizers before they end the program */
extern void __asan_on_error(void);
void
__asan_on_error(void)
{
	show_input();
}

static void
add(const char *bytes, size_t len)
{
	len = Min(len, MAX_INPUT - input_len);
	memcpy(input + input_len, bytes, len);
	input_len += len;
}

static void
compose(const char *const *words)
{
	size_t		nwords = 0;
	size_t		pieces = 1 + below(below(8) == 0 ? 200 : 12);

	while (words[nwords] != NULL)
		nwords++;
	input_len = 0;
	for (size_t i = 0; i < pieces; i++)
	{
		const char *word = words[below(nwords)];
		size_t		len = strlen(word);
		char		byte = (char) next();

		switch (below(8))
		{
			case 0:
				add(&byte, 1);
				break;
			case 1:
				add(word, below(len + 1));
				break;
			case 2:
				for (size_t n = below(below(50) == 0 ? 20000 : 40); n > 0; n--)
					add(&byte, 1);
				break;
			case 3:
				for (size_t n = below(20); n > 0; n--)
				{
					byte = (char) next();
					add(&byte, 1);
				}
				break;
			default:
				add(word, len);
				break;
		}
	}
}

static void
mutate(void)
{
	for (size_t n = 1 + below(4); n > 0 && input_len > 0; n--)
	{
		size_t		at = below(input_len);

		switch (below(4))
		{
			case 0:
				input[at] = (char) next();
				break;
			case 1:
				input[at] ^= 1 << below(8);
				break;
			case 2:
				memmove(input + at, input + at + 1, input_len - at - 1);
				input_len--;
				break;
			default:
				input_len = at;
				break;
		}
	}
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void
run_for(const FuzzTarget *target, double share)
{
	double		end = seconds() + share;
	uint64		runs = 0;
	uint64		errors = 0;

	current = target;
	do
	{
		for (int i = 0; i < 50; i++)
		{
			char	   *copy;

			if (input_len == 0 || below(2) == 0)
				compose(target->words);
			else
				mutate();
			copy = malloc(input_len + 1);
			memcpy(copy, input, input_len);
			copy[input_len] = '\0';
			runs++;
			if (!fuzz_run(target, copy, input_len))
				errors++;
			free(copy);
		}
	} while (seconds() < end);
	printf("%s: %llu runs, %llu errors\n", target->name, (unsigned long long) runs, (unsigned long long) errors);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const FuzzTarget *const all[] = {guard_targets, response_targets, sign_targets, timestamp_targets,
		schedule_targets, url_targets, attempt_targets, key_text_targets, request_targets, state_buckets_targets,
	state_usage_targets, state_quotas_targets, proxies_targets, operation_targets, identifiers_targets,
	acknowledgement_targets, audio_targets};
	double		total = argc > 1 ? atof(argv[1]) : 10;
	uint64		seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	const char *only = argc > 3 ? argv[3] : NULL;
	int			count = 0;

	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < lengthof(all); i++)
			for (const FuzzTarget *target = all[i]; target->name != NULL; target++)
			{
				if (only != NULL && strcmp(only, target->name) != 0)
					continue;
				if (pass == 0)
					count++;
				else
				{
					state = seed;
					input_len = 0;
					run_for(target, total / count);
				}
			}
	if (count == 0)
		fprintf(stderr, "there is no target \"%s\"\n", only);
	return count == 0;
}
