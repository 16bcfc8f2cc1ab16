/* Low-rank adapters of layers that read one input: y += s (x A') B', and the way back. */
#include "products.h"

/* `count` layers of `rank` each; all their outputs stand beside one another, `outer` wide. */
struct adapters {
  long tokens, inner, outer, count, rank;
  float scale;
  const long *sizes;
  const float *const *a; /* (rank, inner) */
  const float *const *b; /* (size, rank) */
  const float *panels;   /* of all weights, or none where y has their product */
};

INLINE long ranks(const struct adapters *s) { return s->count * s->rank; }

/* out (columns, rows) = `by` x (rows, columns)', so many numbers from column to column of out. */
static void transposed(const float *x, long rows, long columns, float by, float *out, long step) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) out[j * step + i] = by * x[i * columns + j];
}

/* low (tokens, ranks) = x A' of all layers. */
static void narrow(const struct adapters *s, const float *x, float *turned, float *low,
                   int threads) {
  long n = ranks(s);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long i = 0; i < s->count; i++)
    transposed(s->a[i], s->rank, s->inner, 1, turned + i * s->rank, n);
  struct product p = {s->tokens, n, s->inner, x, s->inner, 1, turned, n, WIDE, low, n, WIDE,
                      0, 0, 0, 1};
  multiplied(&p, threads);
}

/* y (tokens, outer) = x W' + s low B', layer by layer; or added to y where there are no panels. */
static void widen(const struct adapters *s, const float *x, const float *low, float *turned,
                  float *y, int threads) {
  for (long i = 0, at = 0; i < s->count; at += s->sizes[i++]) {
    long size = s->sizes[i], inner = s->inner;
    transposed(s->b[i], size, s->rank, s->scale, turned, size);
    struct product of_low = {s->tokens, size, s->rank, low + i * s->rank, ranks(s), 1, turned, size,
                             WIDE, y + at, s->outer, WIDE, y + at, s->outer, WIDE, 1, 0};
    struct product of_x = {s->tokens, size, inner, x, inner, 1, s->panels + at * inner, WIDE,
                           WIDE * inner, y + at, s->outer, WIDE, 0, 0, 0, 1, &of_low};
    multiplied(s->panels ? &of_x : &of_low, threads);
  }
}

INLINE long widest(const struct adapters *s) {
  long most = ranks(s) * s->inner;
  for (long i = 0; i < s->count; i++)
    if (s->sizes[i] * s->rank > most) most = s->sizes[i] * s->rank;
  return most;
}

/* Adds what the adapters make of x to y, and keeps low; zero if there was no memory for it. */
int adapters_forward(const struct adapters *s, const float *x, float *y, float *low, int threads) {
  float *turned = malloc(widest(s) * sizeof(float));
  if (!turned) return 0;
  narrow(s, x, turned, low, threads);
  widen(s, x, low, turned, y, threads);
  free(turned);
  return 1;
}

/* down (tokens, ranks) = s slope B. */
static void down_of(const struct adapters *s, const float *slope, float *down, int threads) {
  for (long i = 0, at = 0; i < s->count; at += s->sizes[i++]) {
    struct product p = {s->tokens, s->rank, s->sizes[i], slope + at, s->outer, 1, s->b[i],
                        s->rank, WIDE, down + i * s->rank, ranks(s), WIDE, 0, 0, 0, s->scale};
    multiplied(&p, threads);
  }
}

/* dx (tokens, inner) += down A. */
static void onward(const struct adapters *s, const float *down, float *dx, int threads) {
  for (long i = 0; i < s->count; i++) {
    struct product p = {s->tokens, s->inner, s->rank, down + i * s->rank, ranks(s), 1, s->a[i],
                        s->inner, WIDE, dx, s->inner, WIDE, dx, s->inner, WIDE, 1};
    multiplied(&p, threads);
  }
}

/* db (size, rank), all below one another, = slope' (s low). */
static void of_b(const struct adapters *s, const float *slope, const float *low, float *turned,
                 float *db, int threads) {
  for (long i = 0, at = 0; i < s->count; at += s->sizes[i++]) {
    struct product p = {s->rank, s->sizes[i], s->tokens, low + i * s->rank, 1, ranks(s),
                        slope + at, s->outer, WIDE, turned, s->sizes[i], WIDE, 0, 0, 0, s->scale};
    multiplied(&p, threads);
    transposed(turned, s->rank, s->sizes[i], 1, db + at * s->rank, s->rank);
  }
}

/* The slopes of A (ranks, inner) and of B, given that of the output; adds to that of x where it is
   wanted. Zero if there was no memory for it. */
int adapters_back(const struct adapters *s, const float *slope, const float *x, const float *low,
                  float *dx, float *da, float *db, int threads) {
  long n = ranks(s), size = s->tokens * n;
  float *down = malloc((size + widest(s)) * sizeof(float));
  if (!down) return 0;
  down_of(s, slope, down, threads);
  if (dx) onward(s, down, dx, threads);
  struct product p = {n, s->inner, s->tokens, down, 1, n, x, s->inner, WIDE, da, s->inner, WIDE,
                      0, 0, 0, 1};
  multiplied(&p, threads);
  of_b(s, slope, low, down + size, db, threads);
  free(down);
  return 1;
}
