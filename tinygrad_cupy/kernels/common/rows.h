/* Rows taken and added by index. Letters: P blocks of R rows of K elements; M places, each of which
   says a row of every block, from -R to R - 1. */

typedef struct {
  Int rows, places, columns;
  Int shift, buckets, total; /* of the rows of all blocks together 2^shift are a bucket */
} Rows;

/* The row of a block that a place says; -1 where there is none. */
INLINE Int row_at(const Rows *s, Int place)
{
  Int row = place < 0 ? place + s->rows : place;
  return row < s->rows ? row : -1;
}
