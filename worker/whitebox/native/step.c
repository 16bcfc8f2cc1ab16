/* Attention of a decoding step: one query a row, over its prompt and its own tokens so far. */
#include "lanes.h"

/* Queries (row, heads), keys and values (row, shared) beside one another, `size` each; keys and
   values so far; in which slot of those a row's own are, which prompt it reads, and where each
   prompt begins behind its padding. */
struct step {
  long rows, heads, shared, size;
  float scale;
  const float *wide;
  float *own_keys, *own_values;
  long own_row, own_head, length;
  const float *keys, *values;
  long prompt_row, prompt_head, prompt_tokens;
  const long *slot, *prompt, *start;
  float *out;
};

/* The sums of four lanes. */
INLINE __m128 sums(lane a, lane b, lane c, lane d) {
  lane ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
  lane cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
  lane all = (lane)(_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd)) +
             (lane)(_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd));
  __m256 half = _mm512_castps512_ps256(all) + _mm512_extractf32x8_ps(all, 1);
  return _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
}

INLINE void fetch(const float *p, const long size) {
  for (long i = 0; i < size; i += LANE) __builtin_prefetch(p + i, 0, 2);
}

INLINE lane along(const float *a, const float *b, const long n) {
  lane total = load(a) * load(b);
  for (long i = LANE; i < n; i += LANE) total += load(a + i) * load(b + i);
  return total;
}

/* Scores of so many keys, four at a time, while the next are fetched. */
INLINE void scored(const long size, const float *query, const float *keys, const float *next,
                   long count, float scale, float *score) {
  long j = 0;
  for (; j + 4 <= count; j += 4) {
    const float *key = keys + j * size;
    if (next) fetch(next + j * size, 4 * size);
    __m128 four = sums(along(query, key, size), along(query, key + size, size),
                       along(query, key + 2 * size, size), along(query, key + 3 * size, size));
    _mm_storeu_ps(score + j, four * _mm_set1_ps(scale));
  }
  for (; j < count; j++) score[j] = sum(along(query, keys + j * size, size)) * scale;
}

enum { BESIDE = 4 /* lanes of a value that are added up at once */ };

/* Adds so many weighed values to n numbers of out, every other one to sums of their own. */
INLINE void added(const long n, const long size, float *out, const float *weight,
                  const float *values, const float *next, long count) {
  lane even[BESIDE], odd[BESIDE];
  for (long i = 0; i < n; i++) even[i] = load(out + i * LANE), odd[i] = splat(0);
  long j = 0;
  for (; j + 2 <= count; j += 2) {
    const float *value = values + j * size;
    if (next) fetch(next + j * size, n * LANE), fetch(next + (j + 1) * size, n * LANE);
    for (long i = 0; i < n; i++) {
      even[i] += splat(weight[j]) * load(value + i * LANE);
      odd[i] += splat(weight[j + 1]) * load(value + size + i * LANE);
    }
  }
  if (j < count)
    for (long i = 0; i < n; i++) even[i] += splat(weight[j]) * load(values + j * size + i * LANE);
  for (long i = 0; i < n; i++) store(out + i * LANE, even[i] + odd[i]);
}

INLINE void gathered(const long size, float *out, const float *weight, const float *values,
                     const float *next, long count) {
  const long step = BESIDE * LANE;
  long i = 0;
  for (; i + step <= size; i += step)
    added(BESIDE, size, out + i, weight, values + i, next ? next + i : 0, count);
  for (; i < size; i += LANE)
    added(1, size, out + i, weight, values + i, next ? next + i : 0, count);
}

INLINE void kept(const struct step *s, long row, long head) {
  const float *key = s->wide + (row * (s->heads + 2 * s->shared) + s->heads + head) * s->size;
  long at = s->slot[row] * s->own_row + head * s->own_head + s->length * s->size;
  for (long i = 0; i < s->size; i += LANE) {
    store(s->own_keys + at + i, load(key + i));
    store(s->own_values + at + i, load(key + s->shared * s->size + i));
  }
}

struct read {
  const float *keys, *values, *own_keys, *own_values;
  long before;
};

/* What the queries of a row and head read. */
INLINE struct read read_by(const struct step *s, long row, long head) {
  long prompt = s->prompt[row], start = s->start[prompt];
  long at = prompt * s->prompt_row + head * s->prompt_head + start * s->size;
  long own = s->slot[row] * s->own_row + head * s->own_head;
  return (struct read){s->keys + at, s->values + at, s->own_keys + own, s->own_values + own,
                       s->prompt_tokens - start};
}

/* One query; the first of its group has what the next row reads fetched. */
INLINE void attended(const long size, const struct step *s, long row, long head, long query,
                     float *score) {
  struct read now = read_by(s, row, head), then = {0};
  if (query % (s->heads / s->shared) == 0) then = read_by(s, least(row + 1, s->rows - 1), head);
  long own = s->length + 1, all = now.before + own;
  const float *q = s->wide + (row * (s->heads + 2 * s->shared) + query) * size;
  float *out = s->out + (row * s->heads + query) * size, *mine = score + now.before;
  scored(size, q, now.keys, then.keys, now.before, s->scale, score);
  scored(size, q, now.own_keys, then.own_keys, own, s->scale, mine);
  float total = exponentials(score, all, highest(score, all));
  for (long i = 0; i < size; i += LANE) store(out + i, splat(0));
  gathered(size, out, score, now.values, then.values, now.before);
  gathered(size, out, mine, now.own_values, then.own_values, own);
  for (long i = 0; i < size; i += LANE) store(out + i, load(out + i) / splat(total));
}

/* The same, faster for the sizes that are common. */
static void of_size(const struct step *s, long row, long head, long query, float *score) {
  switch (s->size) {
    case 64: attended(64, s, row, head, query, score); break;
    case 128: attended(128, s, row, head, query, score); break;
    default: attended(s->size, s, row, head, query, score);
  }
}

/* Keeps the rows' new keys and values and attends; zero if there was no memory for it. */
int attend_step(const struct step *s, int threads) {
  long room = s->prompt_tokens + s->length + 1, group = s->heads / s->shared;
  float *scores = malloc(threads * room * sizeof(float));
  if (!scores) return 0;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (long head = 0; head < s->shared; head++)
    for (long row = 0; row < s->rows; row++) {
      kept(s, row, head);
      for (long g = 0; g < group; g++)
        of_size(s, row, head, head * group + g, scores + omp_get_thread_num() * room);
    }
  free(scores);
  return 1;
}
