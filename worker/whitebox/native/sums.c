/* Weights with their adapters added in, laid out in panels for products of few rows. */
#include "products.h"

enum { RANKS = 16 /* of an adapter that are added at once */ };

/* Adds up to 16 ranks of an adapter to the lane of outputs that begins at `at`. */
INLINE void adapted(long inner, long left, long ranks, long rank, const float *a, const float *b,
                    float scale, float *out) {
  lane of_b[RANKS];
  for (long r = 0; r < ranks; r++) of_b[r] = every(b + r, rank, left) * splat(scale);
  for (long k = 0; k < inner; k++) {
    lane total = load(out + k * WIDE);
    for (long r = 0; r < ranks; r++) total += splat(a[r * inner + k]) * of_b[r];
    store(out + k * WIDE, total);
  }
}

/* panels = (W + scale B A)' of w (outputs, inner), a (rank, inner) and b (outputs, rank). */
void summed(long outputs, long inner, long rank, const float *w, const float *a, const float *b,
            float scale, float *panels, int threads) {
  long lanes = 2 * ((outputs + WIDE - 1) / WIDE);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long i = 0; i < lanes; i++) {
    long at = i * LANE, left = outputs - at;
    float *out = panels + i / 2 * WIDE * inner + i % 2 * LANE;
    for (long k = 0; k < inner; k++) store(out + k * WIDE, every(w + at * inner + k, inner, left));
    for (long r = 0; r < rank; r += RANKS)
      adapted(inner, left, least(RANKS, rank - r), rank, a + r * inner, b + at * rank + r, scale,
              out);
  }
}
