/* Matrix products of few rows, whose weights come from afar: the next are fetched meanwhile. */
#include "products.h"

/* Rows of a tile at once: with both lanes of a panel they fill the registers. */
enum { TALL = 12, CHUNK = 96, SMALL_CHUNK = 2 * TALL };

/* Inner places summed at once: one sum over a vocabulary loses two digits of seven, and a panel's
   part stays in the second cache. */
enum { DEEP = 1024 };

INLINE void begin(const int rows, lane acc[TALL][2], const float *c, long cm) {
#pragma GCC unroll 12
  for (int m = 0; m < rows; m++) {
    acc[m][0] = acc[m][1] = splat(0);
    __builtin_prefetch(c + m * cm, 1, 3);
    __builtin_prefetch(c + m * cm + LANE, 1, 3);
  }
}

INLINE void multiply(const int rows, const int lanes, lane acc[TALL][2], const struct product *p,
                     const float *a, const float *b, const float *next) {
  for (long k = 0; k < p->k; k++, a += p->ak, b += p->bk, next += p->bk) {
    lane left = load(b), right = lanes > 1 ? load(b + LANE) : left;
    __builtin_prefetch(next, 0, 2);
    __builtin_prefetch(next + LANE, 0, 2);
#pragma GCC unroll 12
    for (int m = 0; m < rows; m++) {
      lane x = splat(a[m * p->am]);
      acc[m][0] += x * left;
      if (lanes > 1) acc[m][1] += x * right;
    }
  }
}

INLINE void finish(lane acc[2], const struct product *p, float *c, const float *add, long columns) {
  for (int half = 0; half < 2; half++) {
    __mmask16 mask = first(columns - half * LANE);
    lane y = acc[half] * splat(p->alpha);
    if (add) y += _mm512_maskz_loadu_ps(mask, add + half * LANE);
    _mm512_mask_storeu_ps(c + half * LANE, mask, y);
  }
}

INLINE void tile(const int rows, const int lanes, const struct product *p, long row, long panel,
                 const float *next) {
  lane acc[TALL][2];
  float *c = p->c + row * p->cm + panel * p->cp;
  begin(rows, acc, c, p->cm);
  multiply(rows, lanes, acc, p, p->a + row * p->am, p->b + panel * p->bp, next);
  const struct product *also = p->also;
  if (also) {
    const float *b = also->b + panel * also->bp;
    multiply(rows, lanes, acc, also, also->a + row * also->am, b, b);
  }
  const float *add = p->add ? p->add + row * p->addm + panel * p->addp : 0;
#pragma GCC unroll 12
  for (int m = 0; m < rows; m++)
    finish(acc[m], p, c + m * p->cm, add ? add + m * p->addm : 0, p->n - panel * WIDE);
}

INLINE void tiles(const int lanes, const struct product *p, long row, long rows, long panel,
                  const float *next) {
  const float *here = p->b + panel * p->bp;
  for (; rows >= TALL; row += TALL, rows -= TALL)
    tile(TALL, lanes, p, row, panel, rows < 2 * TALL ? next : here);
  switch (rows) {
#define CASE(r) \
  case r: tile(r, lanes, p, row, panel, next); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
  }
}

/* The product of some inner places from k, added to that of those before. */
INLINE struct product from_place(const struct product *p, long k) {
  struct product of = *p;
  of.k = least(DEEP, p->k - k);
  of.a += k * p->ak;
  of.b += k * p->bk;
  if (k) of.add = p->c, of.addm = p->cm, of.addp = p->cp, of.also = 0;
  return of;
}

/* So many rows of one panel, while the next panel is fetched. */
void strip(const struct product *p, long row, long rows, long panel, const float *next) {
  long k = 0;
  do {
    struct product of = from_place(p, k);
    const float *after = k + DEEP < p->k ? of.b + panel * p->bp + DEEP * p->bk : next;
    if (p->n - panel * WIDE > LANE)
      tiles(2, &of, row, rows, panel, after);
    else
      tiles(1, &of, row, rows, panel, after);
  } while ((k += DEEP) < p->k);
}

/* c = add + alpha a b, panel by panel of b; what is narrow is cut more finely among the threads. */
void multiplied(const struct product *p, int threads) {
  long panels = (p->n + WIDE - 1) / WIDE, chunk = panels < 4 * threads ? SMALL_CHUNK : CHUNK;
  long chunks = (p->m + chunk - 1) / chunk;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (long panel = 0; panel < panels; panel++)
    for (long i = 0; i < chunks; i++) {
      long stay = i + 1 < chunks || panel + 1 == panels;
      const float *next = p->b + (panel + !stay) * p->bp;
      strip(p, i * chunk, least(chunk, p->m - i * chunk), panel, next);
    }
}

/* y (m, n) = add + x (m, k) w', where w lies in panels; the same for few arguments. */
void by_panels(long m, long n, long k, const float *x, const float *panels, const float *add,
               float *y, int threads) {
  struct product p = {m, n, k, x, k, 1, panels, WIDE, WIDE * k, y, n, WIDE, add, n, WIDE, 1, 0};
  multiplied(&p, threads);
}
