/* y (rows, columns) = a (rows, terms) times b (terms, columns), float32; to which a bias is added,
   of each column or of each row, and ReLU taken of that. Items are panels of b, each packed by who
   multiplies by it; or, ``by_rows``, tiles of rows, for each part of which all are packed. */

typedef struct {
  Int rows, columns, terms;
  Int depth, group; /* terms of a panel; panels that stay in the second cache while rows pass */
  Int a_row, a_term, b_term, b_column, y_row, y_column;
  Int by_rows;
  Int bias_row, bias_column, relu; /* from row to row, and from column to column, of the bias */
} Product;

enum {
  SOON = 16,   /* rows of b that are fetched ahead */
  BLOCK = 8,   /* tiles of a that are copied together, where terms are not neighbours */
  COPIED = 16, /* floats from term to term of such a copy: whole lines */
};

Int product_width(void) { return WIDTH; }

Int product_depth(void) { return DEPTH; }

Int product_tile(void) { return TILE; }

/* Floats of scratch that `product` needs. */
Int product_scratch(const Product *s) { return s->depth * (s->group * WIDTH + BLOCK * COPIED); }

/* Some terms of some panels. */
typedef struct {
  Int first, depth, panel, count;
} Piece;

/* Sums that have all their terms: the bias, if not 0, is added to them, and of that taken ReLU. */
static void finish(const Product *s, Int rows, Int columns, Sums y, const float *bias)
{
  for (Int r = 0; r < rows; r++)
    for (Int c = 0; c < columns; c++) {
      float *place = y.at + r * y.by_row + c * y.by_column;
      float sum = *place + (bias ? bias[r * s->bias_row + c * s->bias_column] : 0);
      *place = s->relu && sum < 0 ? 0 : sum;
    }
}

/* ``rows`` of a, at ``from``, of a piece, for each tile its terms one after the other. */
static void copy_block(
    const Product *s, Int rows, Int depth, const float *from, float *restrict to)
{
  Int whole = s->a_row == 1 ? rows / TILE : 0, tiles = (rows + TILE - 1) / TILE;
  for (Int k = 0; k < depth; k++) {
    const float *at = from + k * s->a_term;
    for (Int r = 0; whole && r < rows; r += LINE) __builtin_prefetch(at + SOON * s->a_term + r);
    for (Int t = 0; t < whole; t++)
      memcpy(to + (t * depth + k) * COPIED, at + t * TILE, 4 * TILE);
    for (Int t = whole; t < tiles; t++)
      for (Int r = 0; r < least(TILE, rows - t * TILE); r++)
        to[(t * depth + k) * COPIED + r] = at[(t * TILE + r) * s->a_row];
  }
}

/* Rows of y get what a piece, packed, adds to them. Those of a are copied first, to ``copy``, where
   their terms are not neighbours; else the next tile is fetched meanwhile. */
static void multiply(
    const Product *s, Int from, Int end, const float *a, Piece b, const float *packed,
    const float *bias, float *y, float *copy)
{
  int last = b.first + b.depth == s->terms && (bias || s->relu);
  const float *all = a + b.first * s->a_term;
  for (Int row = from, tile = 0; row < end; row += TILE, tile++) {
    Int rows = least(TILE, end - row);
    Rows left = {all + row * s->a_row, s->a_row, 1};
    Ahead next = {left.at + TILE * s->a_row, LINE, s->a_row - LINE * LINE};
    if (s->a_term != 1) {
      if (tile % BLOCK == 0)
        copy_block(s, least(BLOCK * TILE, end - row), b.depth, left.at, copy);
      left = (Rows){copy + tile % BLOCK * b.depth * COPIED, 1, COPIED};
    }
    for (Int i = 0; i < b.count; i++) {
      Int column = (b.panel + i) * WIDTH;
      const float *panel = packed + i * b.depth * WIDTH;
      Sums sums = {y + row * s->y_row + column * s->y_column, s->y_row, s->y_column};
      Int count = least(WIDTH, s->columns - column);
      int fetch = !i && s->a_term == 1 && row + TILE < end;
      times_panel(rows, left, b.depth, panel, count, fetch ? next : (Ahead){panel, 0, 0}, !b.first,
                  sums);
      if (last)
        finish(s, rows, count, sums,
               bias ? bias + row * s->bias_row + column * s->bias_column : 0);
    }
  }
}

/* The panels one after the other; where columns are neighbours, row by row of b through all. */
static void pack(const Product *s, const float *b, Piece piece, float *packed)
{
  const float *from = b + piece.panel * WIDTH * s->b_column + piece.first * s->b_term;
  Int columns = least(piece.count * WIDTH, s->columns - piece.panel * WIDTH);
  Int size = piece.depth * WIDTH, whole = s->b_column == 1 ? columns / WIDTH : 0;
  for (Int k = 0; whole && k < piece.depth; k++)
    for (Int i = 0; i < whole; i++) {
      const float *at = from + k * s->b_term + i * WIDTH;
      for (Int v = 0; v < WIDTH; v += LINE) __builtin_prefetch(at + SOON * s->b_term + v);
      memcpy(packed + i * size + k * WIDTH, at, 4 * WIDTH);
    }
  for (Int i = whole; i < piece.count; i++)
    pack_panel(least(WIDTH, columns - i * WIDTH), piece.depth, s->b_column, s->b_term,
               from + i * WIDTH * s->b_column, packed + i * size);
}

void product(
    const Product *s, const Share *share, const float *a, const float *b, const float *bias,
    float *y, float *scratch)
{
  float *copy = scratch + s->depth * s->group * WIDTH;
  EACH_PART (share, part) {
    Int from = part * share->each, end = part_end(share, part);
    Int row = s->by_rows ? from * TILE : 0, row_end = s->by_rows ? end * TILE : s->rows;
    Int panel = s->by_rows ? 0 : from, panel_end = s->by_rows ? panels(s->columns) : end;
    for (Int first = 0; first < s->terms; first += s->depth)
      for (Int p = panel; p < panel_end; p += s->group) {
        Int depth = least(s->depth, s->terms - first), count = least(s->group, panel_end - p);
        Piece piece = {first, depth, p, count};
        pack(s, b, piece, scratch);
        multiply(s, row, least(row_end, s->rows), a, piece, scratch, bias, y, copy);
      }
  }
}
TASK(product, 4)

/* The same of as many matrices as there are items: matrix i of a, b and y begins ``places``[3 * i]
   floats behind the first, [3 * i + 1] and [3 * i + 2]. */
void stacked_product(
    const Product *s, const Share *share, const float *a, const float *b, const Int *places,
    float *y, float *scratch)
{
  Int items = s->by_rows ? (s->rows + TILE - 1) / TILE : panels(s->columns);
  Share whole = {items, items, 1, 0, 1, 0, 0};
  EACH_ITEM(share, part, i)
    product(s, &whole, a + places[3 * i], b + places[3 * i + 1], 0, y + places[3 * i + 2], scratch);
}
TASK(stacked_product, 4)
