/*
 * A cover as PNG: RGB of 8 bits without alpha, marked as sRGB, with 300 dots
 * to the inch, as the platforms want it.
 *
 * libpng allocates in the current memory context and its errors are raised, so
 * nothing is left behind when it is jumped out of: it has no state but that.
 */
#include "postgres.h"

#include <png.h>
#include <zlib.h>

#include "distribution/cover.h"

static void
raise_error(png_structp png, png_const_charp message)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("could not write a PNG: %s", message)));
}

static void
ignore_warning(png_structp png, png_const_charp message)
{
}

static png_voidp
allocate(png_structp png, png_alloc_size_t size)
{
	return palloc(size);
}

static void
release(png_structp png, png_voidp memory)
{
	if (memory)
		pfree(memory);
}

static void
append(png_structp png, png_bytep bytes, png_size_t size)
{
	appendBinaryStringInfo(png_get_io_ptr(png), (const char *) bytes, (int) size);
}

static void
flush(png_structp png)
{
}

void
mv_cover_png(const MvCover *cover, StringInfo out)
{
	png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, NULL, raise_error, ignore_warning, NULL, allocate, release);
	png_infop	info = png_create_info_struct(png);
	png_bytep	row = palloc(cover->size * 3);

	png_set_write_fn(png, out, append, flush);
	png_set_IHDR(png, info, cover->size, cover->size, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
				 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_sRGB_gAMA_and_cHRM(png, info, PNG_sRGB_INTENT_PERCEPTUAL);
	png_set_pHYs(png, info, 11811, 11811, PNG_RESOLUTION_METER);
	/* Grain has few long repetitions: more effort finds hardly any */
	png_set_compression_level(png, 3);
	png_set_compression_strategy(png, Z_FILTERED);
	png_set_filter(png, 0, PNG_FILTER_UP);
	png_set_compression_buffer_size(png, 65536);
	png_write_info(png, info);
	for (int y = 0; y < cover->size; y++)
	{
		const uint32 *in = cover->pixels + (Size) y * cover->size;

		CHECK_FOR_INTERRUPTS();
		for (int x = 0; x < cover->size; x++)
		{
			row[3 * x] = in[x] >> 16;
			row[3 * x + 1] = in[x] >> 8;
			row[3 * x + 2] = in[x];
		}
		png_write_row(png, row);
	}
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	pfree(row);
}
