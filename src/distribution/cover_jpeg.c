/*
 * A cover as JPEG: quality 92, without subsampling of colour, whose coloured
 * edges would fray; 300 dots to the inch.
 *
 * libjpeg's memory is malloc'd. An error of its or of ours jumps to a place
 * that frees it: ours are raised there only.
 */
#include "postgres.h"

#include <stdio.h>

#include <jpeglib.h>

#include "distribution/cover.h"

#define CHUNK 65536

typedef struct Writer
{
	struct jpeg_destination_mgr manager;
	StringInfo	out;
	JOCTET		chunk[CHUNK];
} Writer;

static void
raise_error(j_common_ptr info)
{
	char		message[JMSG_LENGTH_MAX];

	info->err->format_message(info, message);
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("could not write a JPEG: %s", message)));
}

static void
ignore_message(j_common_ptr info)
{
}

static void
begin(j_compress_ptr info)
{
	Writer	   *writer = (Writer *) info->dest;

	writer->manager.next_output_byte = writer->chunk;
	writer->manager.free_in_buffer = CHUNK;
}

static boolean
empty(j_compress_ptr info)
{
	Writer	   *writer = (Writer *) info->dest;

	appendBinaryStringInfo(writer->out, (const char *) writer->chunk, CHUNK);
	begin(info);
	return TRUE;
}

static void
end(j_compress_ptr info)
{
	Writer	   *writer = (Writer *) info->dest;

	appendBinaryStringInfo(writer->out, (const char *) writer->chunk, CHUNK - writer->manager.free_in_buffer);
}

void
mv_cover_jpeg(const MvCover *cover, StringInfo out)
{
	/* in memory of its own: what is local may be lost in a jump */
	struct jpeg_compress_struct *jpeg = palloc0(sizeof(*jpeg));
	struct jpeg_error_mgr *errors = palloc0(sizeof(*errors));
	Writer	   *writer = palloc0(sizeof(*writer));
	JSAMPROW	row = palloc(cover->size * 3);

	jpeg->err = jpeg_std_error(errors);
	errors->error_exit = raise_error;
	errors->output_message = ignore_message;
	writer->manager.init_destination = begin;
	writer->manager.empty_output_buffer = empty;
	writer->manager.term_destination = end;
	writer->out = out;
	PG_TRY();
	{
		jpeg_create_compress(jpeg);
		jpeg->dest = &writer->manager;
		jpeg->image_width = jpeg->image_height = cover->size;
		jpeg->input_components = 3;
		jpeg->in_color_space = JCS_RGB;
		jpeg_set_defaults(jpeg);
		jpeg_set_quality(jpeg, 92, TRUE);
		for (int i = 0; i < 3; i++)
			jpeg->comp_info[i].h_samp_factor = jpeg->comp_info[i].v_samp_factor = 1;
		jpeg->density_unit = 1;
		jpeg->X_density = jpeg->Y_density = 300;
		jpeg_start_compress(jpeg, TRUE);
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
			jpeg_write_scanlines(jpeg, &row, 1);
		}
		jpeg_finish_compress(jpeg);
	}
	PG_FINALLY();
	{
		jpeg_destroy_compress(jpeg);
	}
	PG_END_TRY();
	pfree(row);
	pfree(writer);
	pfree(errors);
	pfree(jpeg);
}
