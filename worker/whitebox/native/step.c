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

enum {
  BLOCK = 32, /* keys of a prompt that all queries of a bunch read before the next: they stay near */
  BUNCH = 4   /* rows of a prompt that are taken together */
};

/* Queries of rows that read one prompt, by one head of keys, and room for the scores of each. */
struct bunch {
  long row, head, group, queries, room;
  float *score;
};

INLINE long row_of(const struct bunch *b, long i) { return b->row + i / b->group; }

INLINE long head_of(const struct bunch *b, long i) { return b->head * b->group + i % b->group; }

INLINE const float *query(const struct step *s, const struct bunch *b, long i) {
  return s->wide + (row_of(b, i) * (s->heads + 2 * s->shared) + head_of(b, i)) * s->size;
}

INLINE float *out(const struct step *s, const struct bunch *b, long i) {
  return s->out + (row_of(b, i) * s->heads + head_of(b, i)) * s->size;
}

/* What the row after a query's reads, to be fetched by the first query of its group. */
INLINE struct read after(const struct step *s, const struct bunch *b, long i) {
  struct read none = {0};
  return i % b->group ? none : read_by(s, least(row_of(b, i) + 1, s->rows - 1), b->head);
}

/* What the next bunch reads, to be fetched by the first query; nothing if that is at hand. */
INLINE struct read beyond(const struct step *s, const struct bunch *b) {
  struct read none = {0}, now = read_by(s, b->row, b->head);
  long next = least(b->row + b->queries / b->group, s->rows - 1);
  struct read then = read_by(s, next, b->head);
  return then.keys == now.keys ? none : then;
}

/* The scores of the prompt, block by block, then of each query's own tokens, as e^(x - top). */
INLINE void weighed(const long size, const struct step *s, const struct bunch *b) {
  struct read now = read_by(s, b->row, b->head), then = beyond(s, b);
  for (long at = 0; at < now.before; at += BLOCK)
    for (long i = 0; i < b->queries; i++) {
      const float *next = i ? 0 : then.keys;
      scored(size, query(s, b, i), now.keys + at * size, next ? next + at * size : 0,
             least(BLOCK, now.before - at), s->scale, b->score + i * b->room + at);
    }
  for (long i = 0; i < b->queries; i++) {
    float *score = b->score + i * b->room;
    long own = s->length + 1, all = now.before + own;
    scored(size, query(s, b, i), read_by(s, row_of(b, i), b->head).own_keys,
           after(s, b, i).own_keys, own, s->scale, score + now.before);
    score[b->room - 1] = exponentials(score, all, highest(score, all));
  }
}

/* The values, weighed and added in the same order. */
INLINE void averaged(const long size, const struct step *s, const struct bunch *b) {
  struct read now = read_by(s, b->row, b->head), then = beyond(s, b);
  for (long i = 0; i < b->queries; i++)
    for (long d = 0; d < size; d += LANE) store(out(s, b, i) + d, splat(0));
  for (long at = 0; at < now.before; at += BLOCK)
    for (long i = 0; i < b->queries; i++) {
      const float *next = i ? 0 : then.values;
      gathered(size, out(s, b, i), b->score + i * b->room + at, now.values + at * size,
               next ? next + at * size : 0, least(BLOCK, now.before - at));
    }
  for (long i = 0; i < b->queries; i++) {
    float *to = out(s, b, i), *score = b->score + i * b->room;
    gathered(size, to, score + now.before, read_by(s, row_of(b, i), b->head).own_values,
             after(s, b, i).own_values, s->length + 1);
    for (long d = 0; d < size; d += LANE) store(to + d, load(to + d) / splat(score[b->room - 1]));
  }
}

/* The same, faster for the sizes that are common. */
static void attended(const struct step *s, const struct bunch *b) {
  for (long i = 0; i < b->queries; i += b->group) kept(s, row_of(b, i), b->head);
  switch (s->size) {
    case 64: weighed(64, s, b), averaged(64, s, b); break;
    case 128: weighed(128, s, b), averaged(128, s, b); break;
    default: weighed(s->size, s, b), averaged(s->size, s, b);
  }
}

/* Where each bunch begins, and after them where the last ends; returns how many there are. */
static long bunches(const struct step *s, long most, long *begin) {
  long count = 0;
  for (long row = 0; row < s->rows; row++)
    if (!count || row == begin[count - 1] + most || s->prompt[row] != s->prompt[row - 1])
      begin[count++] = row;
  begin[count] = s->rows;
  return count;
}

/* Keeps the rows' new keys and values and attends; zero if there was no memory for it. */
int attend_step(const struct step *s, int threads) {
  long room = s->prompt_tokens + s->length + 2, group = s->heads / s->shared;
  /* with few rows, each by itself: there has to be work for all threads */
  long most = s->rows * s->shared < 4 * BUNCH * threads ? 1 : BUNCH;
  float *scores = malloc(threads * most * group * room * sizeof(float));
  long *begin = malloc((s->rows + 1) * sizeof(long));
  int had = scores && begin;
  long count = had ? bunches(s, most, begin) : 0;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (long head = 0; head < s->shared; head++)
    for (long i = 0; i < count; i++) {
      float *own = scores + omp_get_thread_num() * most * group * room;
      long queries = (begin[i + 1] - begin[i]) * group;
      attended(s, &(struct bunch){begin[i], head, group, queries, room, own});
    }
  free(scores);
  free(begin);
  return had;
}
