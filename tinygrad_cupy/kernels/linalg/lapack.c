/* LAPACK and BLAS on stacks of matrices, one after the other, from `start` to `end`.

   TYPE is float or double. The routines' addresses are SciPy's. A matrix in C order is the
   transpose of what LAPACK sees, which is made use of: nothing is transposed here. */

#include <stdlib.h>

typedef struct {
  Int rows, columns; /* of a matrix, as LAPACK sees it */
  Int right;         /* columns of the right side */
  Int step;          /* from one factored matrix to the next, in elements; 0 for one for all */
  Int lower, transposed, unit;
  void *first, *second; /* routines */
} Stack;

typedef void Getrf(int *, int *, TYPE *, int *, int *, int *);
typedef void Getrs(char *, int *, int *, const TYPE *, int *, int *, TYPE *, int *, int *);
typedef void Potrf(char *, int *, TYPE *, int *, int *);
typedef void Syevd(
    char *, char *, int *, TYPE *, int *, TYPE *, TYPE *, int *, int *, int *, int *);
typedef void Trsm(
    char *, char *, char *, char *, int *, int *, TYPE *, const TYPE *, int *, TYPE *, int *);

/* packed (…, rows · columns and one for each pivot): factors in place, pivots, from 1, behind. */
void lu_factor(const Stack *s, Int start, Int end, TYPE *packed, int *pivots, int *info)
{
  Getrf *getrf = (Getrf *)s->first;
  int rows = (int)s->rows, columns = (int)s->columns;
  Int least = rows < columns ? rows : columns;
  for (Int i = start; i < end; i++) {
    TYPE *x = packed + i * s->step;
    int *own = pivots + i * least;
    getrf(&rows, &columns, x, &rows, own, info + i);
    for (Int k = 0; k < least; k++) x[s->rows * s->columns + k] = (TYPE)own[k];
  }
}

static void exchange(TYPE *x, Int right, const int *pivots, Int k)
{
  Int other = pivots[k] - 1;
  if (other == k) return;
  for (Int j = 0; j < right; j++) {
    TYPE kept = x[k * right + j];
    x[k * right + j] = x[other * right + j];
    x[other * right + j] = kept;
  }
}

/* x (n, right), in place, by the factors of the transpose of a: a⁻¹ x, or of aᵀ if transposed. */
void lu_solve(const Stack *s, Int start, Int end, const TYPE *packed, TYPE *x)
{
  Getrs *getrs = (Getrs *)s->first;
  Trsm *trsm = (Trsm *)s->second;
  int n = (int)s->rows, right = (int)s->right, info = 0;
  TYPE one = 1;
  int *pivots = malloc(sizeof(int) * (size_t)(n + 1));
  if (!pivots) return;
  for (Int i = start; i < end; i++) {
    const TYPE *factors = packed + i * s->step;
    TYPE *own = x + i * s->rows * s->right;
    for (Int k = 0; k < n; k++) pivots[k] = (int)factors[s->rows * s->rows + k];
    if (right == 1) {
      getrs(s->transposed ? "N" : "T", &n, &right, factors, &n, pivots, own, &n, &info);
    } else if (s->transposed) {
      for (Int k = 0; k < n; k++) exchange(own, right, pivots, k);
      trsm("R", "L", "T", "U", &right, &n, &one, factors, &n, own, &right);
      trsm("R", "U", "T", "N", &right, &n, &one, factors, &n, own, &right);
    } else {
      trsm("R", "U", "N", "N", &right, &n, &one, factors, &n, own, &right);
      trsm("R", "L", "N", "U", &right, &n, &one, factors, &n, own, &right);
      for (Int k = n - 1; k >= 0; k--) exchange(own, right, pivots, k);
    }
  }
  free(pivots);
}

/* One small matrix, row after row: BLAS would wake its threads for it. */
static void substitute(const Stack *s, const TYPE *restrict a, TYPE *restrict x)
{
  Int n = s->rows, right = s->right;
  Int down = s->lower != s->transposed;
  for (Int step = 0; step < n; step++) {
    Int i = down ? step : n - 1 - step;
    TYPE *own = x + i * right;
    if (!s->unit)
      for (Int j = 0; j < right; j++) own[j] /= a[i * n + i];
    Int first = down ? i + 1 : 0, last = down ? n : i;
    for (Int row = first; row < last; row++) {
      TYPE factor = s->transposed ? a[i * n + row] : a[row * n + i];
      TYPE *other = x + row * right;
      for (Int j = 0; j < right; j++) other[j] -= factor * own[j];
    }
  }
}

/* x (n, right), in place, by triangular matrices a (n, n) in C order. */
void solve_triangular(const Stack *s, Int start, Int end, const TYPE *a, TYPE *x)
{
  Trsm *trsm = (Trsm *)s->first;
  int n = (int)s->rows, right = (int)s->right;
  TYPE one = 1;
  char *uplo = s->lower ? "U" : "L", *unit = s->unit ? "U" : "N";
  for (Int i = start; i < end; i++) {
    const TYPE *matrix = a + i * s->step;
    TYPE *own = x + i * s->rows * s->right;
    if (n <= FEW)
      substitute(s, matrix, own);
    else if (right == 1)
      trsm("L", uplo, s->transposed ? "N" : "T", unit, &n, &right, &one, matrix, &n, own, &n);
    else
      trsm("R", uplo, s->transposed ? "T" : "N", unit, &right, &n, &one, matrix, &n, own, &right);
  }
}

/* x (n, n), in place: L, of which L Lᵀ is x, whose upper triangle is not read. */
void cholesky(const Stack *s, Int start, Int end, TYPE *x, int *info)
{
  Potrf *potrf = (Potrf *)s->first;
  int n = (int)s->rows;
  for (Int i = start; i < end; i++) {
    TYPE *own = x + i * s->rows * s->rows;
    potrf("U", &n, own, &n, info + i);
    for (Int row = 0; row < n; row++)
      for (Int column = row + 1; column < n; column++) own[row * n + column] = 0;
  }
}

/* packed (…, n · n and n): eigenvectors as rows, in place, and the eigenvalues behind them. */
void eigh(
    const Stack *s, Int start, Int end, TYPE *packed, TYPE *work, int size, int *numbers, int count,
    int *info)
{
  Syevd *syevd = (Syevd *)s->first;
  int n = (int)s->rows;
  for (Int i = start; i < end; i++) {
    TYPE *own = packed + i * s->step;
    syevd(
        "V", s->lower ? "U" : "L", &n, own, &n, own + s->rows * s->rows, work, &size, numbers,
        &count, info + i);
  }
}
