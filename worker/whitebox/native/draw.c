/* Rows of logits: one token drawn by inverse CDF, or the log-probability of a given one. */
#include "lanes.h"

enum { BLOCK = 128 /* places whose weights are summed at once */ };

/* e^((x - top) by) of so many. */
static void powers(const float *x, long n, float top, float by, float *e) {
  for (long i = 0; i < n; i += LANE) {
    lane below = _mm512_maskz_loadu_ps(first(n - i), x + i) - splat(top);
    _mm512_mask_storeu_ps(e + i, first(n - i), exponential(below * splat(by)));
  }
}

/* The sum of those that are not below the edge, of zero or more. */
INLINE float mass(const float *e, long n, float edge) {
  lane total = splat(0);
  for (long i = 0; i < n; i += LANE) {
    lane part = _mm512_maskz_loadu_ps(first(n - i), e + i);
    __mmask16 in = _mm512_cmp_ps_mask(part, splat(edge), _CMP_NLT_UQ);
    total = _mm512_mask_add_ps(total, in, total, part);
  }
  return sum(total);
}

/* The same of a whole row; each block's sum is kept where that is wanted. */
static double masses(const float *e, long n, float edge, double *block) {
  double total = 0;
  for (long at = 0; at < n; at += BLOCK) {
    double one = mass(e + at, least(BLOCK, n - at), edge);
    if (block) block[at / BLOCK] = one;
    total += one;
  }
  return total;
}

/* The highest edge with this much weight at or above it. */
static float edge_of(const float *e, long n, double weight) {
  /* the bits of floats that are not negative are ordered as they are */
  union { int bits; float edge; } low = {.edge = 0}, high = {.edge = 2}, middle;
  while (high.bits - low.bits > 1) {
    middle.bits = low.bits + (high.bits - low.bits) / 2;
    if (masses(e, n, middle.edge, 0) >= weight) low = middle;
    else high = middle;
  }
  return low.edge;
}

/* Zeroes what is not of the fewest, and of equal ones the first, that have this much weight. */
static void cut(float *e, long n, double weight) {
  float edge = edge_of(e, n, weight);
  double left = weight - masses(e, n, nextafterf(edge, 2), 0);
  for (long i = 0; i < n; i += LANE) {
    __mmask16 mask = first(n - i);
    lane part = _mm512_maskz_loadu_ps(mask, e + i);
    __mmask16 keep = _mm512_cmp_ps_mask(part, splat(edge), _CMP_GT_OQ);
    __mmask16 equal = _mm512_mask_cmp_ps_mask(mask, part, splat(edge), _CMP_EQ_OQ);
    for (; equal && left > 0; equal &= equal - 1, left -= edge) keep |= equal & -equal;
    _mm512_mask_storeu_ps(e + i, mask, _mm512_maskz_mov_ps(keep, part));
  }
}

/* The first place whose cumulative weight exceeds the target; one with no weight never. */
static long place(const float *e, long n, const double *block, double target) {
  long at = 0, last = (n - 1) / BLOCK;
  while (last > 0 && block[last] == 0) last--;
  while (at < last && block[at] <= target) target -= block[at++];
  long found = at * BLOCK, end = least(n, found + BLOCK);
  for (long i = found; i < end && target >= 0; i++)
    if (e[i] > 0) target -= e[found = i];
  return found;
}

struct law { float temperature; double top_p; };

static void drawn(const float *x, long n, double uniform, struct law law, float *e, double *block,
                  long *token, float *logprob) {
  float top = highest(x, n);
  powers(x, n, top, 1 / law.temperature, e);
  double all = masses(e, n, 0, block), total = all;
  if (law.top_p < 1) {
    cut(e, n, law.top_p * all);
    total = masses(e, n, 0, block);
  }
  *token = place(e, n, block, uniform * total);
  if (law.temperature != 1) {
    powers(x, n, top, 1, e);
    all = masses(e, n, 0, block);
  }
  *logprob = x[*token] - top - (float)log(all);
}

/* Zero if there was no memory for it. */
int draw(long rows, long n, const float *logits, const double *uniform, float temperature,
         double top_p, long *token, float *logprob, int threads) {
  long blocks = (n + BLOCK - 1) / BLOCK;
  double *block = malloc(threads * blocks * sizeof(double));
  float *e = malloc(threads * n * sizeof(float));
  struct law law = {temperature, top_p};
  if (block && e)
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++) {
      int own = omp_get_thread_num();
      drawn(logits + row * n, n, uniform[row], law, e + own * n, block + own * blocks,
            token + row, logprob + row);
    }
  int had = block && e;
  free(block);
  free(e);
  return had;
}

/* Turns logits (rows, n) into probabilities in place; tells the log-probability of each target. */
void soften(long rows, long n, float *logits, const long *target, float *logprob, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long row = 0; row < rows; row++) {
    float *x = logits + row * n, top = highest(x, n), chosen = x[target[row]];
    float total = exponentials(x, n, top);
    for (long i = 0; i < n; i += LANE) {
      lane share = _mm512_maskz_loadu_ps(first(n - i), x + i) * splat(1 / total);
      _mm512_mask_storeu_ps(x + i, first(n - i), share);
    }
    logprob[row] = chosen - top - logf(total);
  }
}
